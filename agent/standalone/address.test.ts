import t from 'tap'
import { addressAt, canonicalAddress, inRange, parseAddress, parseRange } from './address.ts'

for (const [name, given, expected] of [
  ['an IPv4 address is its own canonical form', '10.96.0.1', '10.96.0.1'],
  ['an IPv4 address with a leading zero is none', '10.96.0.01', undefined],
  ['the longest run of zeros is shortened, the first of equals', '2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['one zero group alone is written out', '2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['letters become lower case, leading zeros go', 'FD00:00AB::0001', 'fd00:ab::1'],
  ['all zeros are ::', '0:0:0:0:0:0:0:0', '::'],
  ['a run at the end', 'fd00:1:0:0:0:0:0:0', 'fd00:1::'],
  ['an embedded IPv4 address is two groups', '::ffff:10.0.0.1', '::ffff:a00:1'],
  ['an address with a zone is none', 'fe80::1%eth0', undefined],
  ['a name is none', 'localhost', undefined],
] as const)
  t.test(name, async t => t.equal(canonicalAddress(given), expected))

for (const [name, given, text, size] of [
  ['host bits of a range are cleared', '10.96.0.7/12', '10.96.0.0/12', 1n << 20n],
  ['an IPv6 range', 'fd00:10:96::/112', 'fd00:10:96::/112', 65_536n],
  ['a single address is a range of one', '10.0.0.1/32', '10.0.0.1/32', 1n],
] as const)
  t.test(name, async t => {
    const range = parseRange(given)
    t.equal(range?.text, text)
    t.equal(range?.size, size)
  })

for (const given of ['10.0.0.0', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0.0/-1', 'fd00::/129', 'x/8'])
  t.test(`"${given}" is no range`, async t => t.equal(parseRange(given), undefined))

t.test('an address is in its range only, and not in one of the other family', async t => {
  const range = parseRange('10.96.0.0/16')!
  const there = (text: string) => inRange(range, parseAddress(text)!)
  t.same(['10.96.0.0', '10.96.255.255', '10.97.0.0', '::a60:1'].map(there), [true, true, false, false])
  t.equal(addressAt(range, 10n), '10.96.0.10')
  t.equal(addressAt(range, 65_536n), undefined)
})
