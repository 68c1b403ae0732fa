import t from 'tap'
import { contains, formatCidr, formatIp, parseCidr, parseIp } from './ip.ts'

for (const [text, canonical] of [
  ['10.0.0.1', '10.0.0.1'],
  ['255.255.255.255', '255.255.255.255'],
  ['::', '::'],
  ['::1', '::1'],
  ['FD00::0001', 'fd00::1'],
  ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
  ['1:0:3:4:5:6:7:8', '1:0:3:4:5:6:7:8'],
  ['fe80::', 'fe80::'],
  ['0:0:1::', '0:0:1::'],
  ['::ffff:10.0.0.1', '::ffff:a00:1'],
] as const)
  t.test(`${text} prints as ${canonical}`, async t => {
    const ip = parseIp(text)
    t.ok(ip)
    t.equal(ip && formatIp(ip), canonical)
  })

for (const text of ['', '10.0.0', '10.0.0.256', 'fe80::1%eth0', '1::2::3', 'pod', '10.0.0.1/24'])
  t.test(`${JSON.stringify(text)} is no address`, async t => t.equal(parseIp(text), undefined))

for (const [text, canonical] of [
  ['10.1.2.3/24', '10.1.2.0/24'],
  ['0.0.0.0/0', '0.0.0.0/0'],
  ['fd00:1:2::5/64', 'fd00:1:2::/64'],
  ['::/0', '::/0'],
] as const)
  t.test(`${text} is the range ${canonical}`, async t => {
    const cidr = parseCidr(text)
    t.equal(cidr && formatCidr(cidr), canonical)
  })

for (const text of ['10.0.0.0', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/24/8', '::/129', '10.0.0.0/-1'])
  t.test(`${text} is no range`, async t => t.equal(parseCidr(text), undefined))

t.test('a range contains its first and last address and none of the other family', async t => {
  const range = parseCidr('10.0.0.0/30')
  if (range === undefined) throw new Error('not parsed')
  const inside = ['10.0.0.0', '10.0.0.3', '10.0.0.4', '9.255.255.255', '::a00:1'].map(text =>
    contains(range, parseIp(text) ?? { family: 4, value: -1n }),
  )
  t.same(inside, [true, true, false, false, false])
})
