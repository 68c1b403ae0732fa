import t from 'tap'
import { isFault } from '../host/fault.ts'
import { compareQuantities, formatQuantity, isQuantity, parseQuantity, sumQuantities, toBytes, toMilli } from './quantity.ts'

for (const [name, given, milli, bytes, canonical] of [
  ['a plain number counts units', '2', 2000, 2, '2'],
  ['a JSON number is read like its text', 0.5, 500, 1, '500m'],
  ['m is a thousandth', '100m', 100, 1, '100m'],
  ['1500m is written as it is, for 1.5 has a fraction', '1500m', 1500, 2, '1500m'],
  ['1000m is 1', '1000m', 1000, 1, '1'],
  ['u is a millionth and rounds up to a thousandth', '1u', 1, 1, '1u'],
  ['n is a billionth', '1n', 1, 1, '1n'],
  ['finer than a billionth rounds up', '0.1n', 1, 1, '1n'],
  ['nothing is nothing in every suffix', '0Gi', 0, 0, '0'],
  ['k is a thousand', '2k', 2_000_000, 2000, '2k'],
  ['M, G are decimal', '1.5G', 1.5e12, 1.5e9, '1500M'],
  ['T, P, E too', '1E', 1e21, 1e18, '1E'],
  ['Ki is 1024', '1Ki', 1_024_000, 1024, '1Ki'],
  ['a fraction of a binary suffix', '1.5Gi', 1_610_612_736_000, 1_610_612_736, '1536Mi'],
  ['a small binary amount is written decimal', '0.5Ki', 512_000, 512, '512'],
  ['a binary amount that is no whole number is written decimal', '1.0001Ki', 1_024_103, 1025, '1024102400u'],
  ['2048Ki is 2Mi', '2048Ki', 2_097_152_000, 2_097_152, '2Mi'],
  ['an exponent', '2e3', 2_000_000, 2000, '2e3'],
  ['a negative exponent', '5E-3', 5, 1, '5e-3'],
  ['an exponent that is no multiple of three', '12e2', 1_200_000, 1200, '1200'],
  ['negative amounts round away from zero', '-1500u', -2, -1, '-1500u'],
  ['a plus sign', '+3', 3000, 3, '3'],
  ['digits after a bare dot', '.5', 500, 1, '500m'],
  ['a trailing dot', '5.', 5000, 5, '5'],
  ['more than 2^63-1 is 2^63-1', '100E', 2 ** 63 * 1000, 2 ** 63, '9223372036854775807'],
  ['an absurd exponent is capped, not computed', '1e9999', 2 ** 63 * 1000, 2 ** 63, '9223372036854775807'],
] as const) {
  t.test(name, async t => {
    t.ok(isQuantity(given))
    t.equal(toMilli(given), milli)
    t.equal(toBytes(given), bytes)
    t.equal(formatQuantity(given), canonical)
  })
}

for (const wrong of [
  '',
  '.',
  'abc',
  '1.2.3',
  '1 Gi',
  '1gi',
  '1KI',
  '1mi',
  '--1',
  '1e',
  '0x10',
  '1K',
  'Gi',
  '1,5',
  ' 1',
  '1ee3',
]) {
  t.test(`${JSON.stringify(wrong)} is no quantity`, async t => {
    t.notOk(isQuantity(wrong))
    try {
      parseQuantity(wrong)
      t.fail('must throw')
    } catch (error) {
      t.ok(isFault(error, 'bad-manifest'))
      t.match(String(error), JSON.stringify(wrong))
    }
  })
}

t.test('values of other types are none', async t => {
  for (const wrong of [undefined, null, true, {}, [], Number.NaN, Number.POSITIVE_INFINITY]) t.notOk(isQuantity(wrong))
})

t.test('amounts compare by value, not by writing', async t => {
  t.equal(compareQuantities('1Gi', '1024Mi'), 0)
  t.equal(compareQuantities('1G', '1Gi'), -1)
  t.equal(compareQuantities('1', '999m'), 1)
})

t.test('a sum keeps the first writing', async t => {
  t.equal(sumQuantities(['500m', '1']), '1500m')
  t.equal(sumQuantities(['1Gi', '1024Mi']), '2Gi')
  t.equal(sumQuantities([]), '0')
})
