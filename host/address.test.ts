import t from 'tap'
import {
  addressAt,
  canonicalAddress,
  contains,
  formatAddress,
  hostPort,
  onePerFamily,
  parseAddress,
  parseCidr,
} from './address.ts'

for (const [name, given, expected] of [
  ['an IPv4 address is its own canonical form', '10.96.0.1', '10.96.0.1'],
  ['the last IPv4 address', '255.255.255.255', '255.255.255.255'],
  ['the longest run of zeros is shortened, the first of equals', '2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['the longest run of zeros is shortened, also behind a shorter one', '1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['one zero group alone is written out', '2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['no zero group', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
  ['letters become lower case, leading zeros go', 'FD00:00AB::0001', 'fd00:ab::1'],
  ['all zeros are ::', '0:0:0:0:0:0:0:0', '::'],
  ['loopback', '::1', '::1'],
  ['a run at the end', 'fd00:1:0:0:0:0:0:0', 'fd00:1::'],
  ['a run that is longer in other words', '0:0:1::', '0:0:1::'],
  ['an embedded IPv4 address is two groups', '::ffff:10.0.0.1', '::ffff:a00:1'],
] as const)
  t.test(name, async t => {
    t.equal(canonicalAddress(given), expected)
    t.equal(formatAddress(parseAddress(given)!), expected)
  })

for (const [name, given] of [
  ['nothing', ''],
  ['three parts', '10.0.0'],
  ['a part out of range', '10.0.0.256'],
  ['a leading zero', '10.96.0.01'],
  ['a zone', 'fe80::1%eth0'],
  ['two gaps', '1::2::3'],
  ['a name', 'localhost'],
  ['a range', '10.0.0.1/24'],
] as const)
  t.test(`${name} is no address`, async t => {
    t.equal(parseAddress(given), undefined)
    t.equal(canonicalAddress(given), undefined)
  })

for (const [name, given, text, size] of [
  ['host bits of a range are cleared', '10.96.0.7/12', '10.96.0.0/12', 1n << 20n],
  ['an IPv6 range', 'fd00:1:2::5/112', 'fd00:1:2::/112', 65_536n],
  ['a single address is a range of one', '10.0.0.1/32', '10.0.0.1/32', 1n],
  ['everything', '0.0.0.0/0', '0.0.0.0/0', 1n << 32n],
  ['everything of IPv6', '::/0', '::/0', 1n << 128n],
] as const)
  t.test(name, async t => {
    const range = parseCidr(given)!
    t.equal(range.text, text)
    t.equal(range.last - range.first + 1n, size)
  })

for (const given of ['10.0.0.0', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0.0/-1', '10.0.0/8', '/8', '::/129', 'x/8'])
  t.test(`"${given}" is no range`, async t => t.equal(parseCidr(given), undefined))

t.test('a range contains its first and last address and none of the other family', async t => {
  const range = parseCidr('10.96.0.0/16')!
  const there = (text: string) => contains(range, parseAddress(text)!)
  const given = ['10.96.0.0', '10.96.255.255', '10.97.0.0', '10.95.255.255', '::a60:1']
  t.same(given.map(there), [true, true, false, false, false])
  t.equal(addressAt(range, 10n), '10.96.0.10')
  t.equal(addressAt(range, 65_535n), '10.96.255.255')
  t.equal(addressAt(range, 65_536n), undefined)
})

t.test('one of each family is not two of one', async t => {
  for (const texts of [[], ['10.0.0.1'], ['10.0.0.1', 'fd00::1'], ['fd00::/8', '10.0.0.0/8']])
    t.ok(onePerFamily(texts), texts.join())
  for (const texts of [
    ['10.0.0.1', '10.0.0.2'],
    ['10.0.0.1', 'fd00::1', 'fd00::2'],
  ])
    t.notOk(onePerFamily(texts), texts.join())
})

t.test('an IPv6 address stands in brackets before a port', async t => {
  t.equal(hostPort('fd00::1', 80), '[fd00::1]:80')
  t.equal(hostPort('10.0.0.1', 80), '10.0.0.1:80')
  t.equal(hostPort('web', 80), 'web:80')
})
