import t from 'tap'
import { readNetwork, toDefaultInterface, toInterfaces } from './net-dev.ts'

const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 68937940   89919    0    0    0     0          0         0 68937940   89919    0    0    0     0       0          0
  eth0: 2403841735   71038    1    2    0     0          0         0  5860504   46577    3    4    0     0       0          0
`
const route = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth1	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
`
const route6 = `fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth6
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`

t.test('the interfaces are told with what went over them, loopback left out', async t => {
  t.same(toInterfaces(dev), [
    {
      ...{ name: 'eth0', rxBytes: 2_403_841_735, rxPackets: 71_038, rxErrors: 1, rxDropped: 2 },
      ...{ txBytes: 5_860_504, txPackets: 46_577, txErrors: 3, txDropped: 4 },
    },
  ])
})

for (const [name, four, six, expected] of [
  ['the default route of IPv4 says which interface leads out', route, route6, 'eth0'],
  ['without one, that of IPv6 does', route.split('\n')[0] ?? '', route6, 'eth6'],
  ['without any, none does', '', '', undefined],
] as const) {
  t.test(name, async t => t.equal(toDefaultInterface(four, six), expected))
}

t.test('a process that is gone has no network', async t => {
  t.ok(readNetwork('self')?.interfaces)
  t.equal(readNetwork(2 ** 30), undefined)
})
