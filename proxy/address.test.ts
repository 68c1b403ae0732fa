import t from 'tap'
import { canonicalAddress, coversAddress, distinctRanges } from './address.ts'

t.test('addresses have one spelling', async t2 => {
  t2.equal(canonicalAddress('FD00:0:0::0001', 'IPv6'), 'fd00::1')
  t2.equal(canonicalAddress('10.0.0.1', 'IPv4'), '10.0.0.1')
  t2.equal(canonicalAddress('10.0.0.01', 'IPv4'), undefined, 'leading zeros are no address')
  t2.equal(canonicalAddress('10.0.0.1', 'IPv6'), undefined, 'the other family')
  t2.equal(canonicalAddress('fe80::1%eth0', 'IPv6'), undefined, 'a zone has no place in a rule')
  t2.equal(canonicalAddress('web', 'IPv4'), undefined)
})

t.test('ranges that another one covers are left out', async t2 => {
  t2.same(distinctRanges(['10.1.0.0/16', '10.0.0.0/8', '192.168.0.1', 'fd00::/8', 'nonsense'], 'IPv4'), [
    '10.0.0.0/8',
    '192.168.0.1/32',
  ])
  t2.same(distinctRanges(['10.0.0.0/8', '10.0.0.0/8'], 'IPv4'), ['10.0.0.0/8'], 'the same one twice')
  t2.same(distinctRanges(['10.0.0.0/33', 'fd00::/8'], 'IPv6'), ['fd00::/8'])
})

t.test('a range covers the addresses in it', async t2 => {
  t2.ok(coversAddress(['10.0.0.0/8'], '10.9.9.9', 'IPv4'))
  t2.notOk(coversAddress(['10.0.0.0/8'], '11.0.0.0', 'IPv4'))
  t2.ok(coversAddress(['fd00::/8'], 'fd12::1', 'IPv6'))
})
