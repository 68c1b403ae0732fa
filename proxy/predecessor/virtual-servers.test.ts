// What a kube-proxy in IPVS mode leaves goes; virtual servers of other software stay. On the machine in memory.
import t from 'tap'
import { createMachine } from '../ipvs/machine.fake.ts'
import { portsOf, removeVirtualServers } from './virtual-servers.ts'

t.test('ports of sets are single ones, ranges, and those behind an address', async t => {
  t.same(portsOf(['30080', '30090-30092', '192.0.2.1,sctp:30099', 'none']), [30_080, 30_090, 30_091, 30_092, 30_099])
})

const server = () => ({ options: '-s rr', destinations: new Map([['10.244.0.2:80', 1]]), connections: new Map<string, number>() })
const set = (type: string, ...entries: readonly string[]) => ({
  ...{ type, family: 'inet' },
  entries: new Map(entries.map(entry => [entry, ''] as const)),
})

/** A machine as a kube-proxy in IPVS mode leaves it, with a virtual server and a set of somebody else. */
const left = () => {
  const machine = createMachine(['192.0.2.1'])
  machine.devices.set('kube-ipvs0', new Set(['10.96.0.1', 'fd00::1']))
  for (const name of ['-t 10.96.0.1:80', '-t [fd00::1]:80', '-u 192.0.2.1:30080', '-t 192.0.2.9:443'])
    machine.servers.set(name, server())
  machine.sets.set('KUBE-CLUSTER-IP', set('hash:ip,port', '10.96.0.1,tcp:80'))
  machine.sets.set('KUBE-NODE-PORT-UDP', set('bitmap:port', '30080'))
  machine.sets.set('other', set('hash:ip', '192.0.2.9'))
  return machine
}

t.test("virtual servers on kube-proxy's device and of its node ports go, and its sets, and the device", async t => {
  const machine = left()
  t.same(await removeVirtualServers(machine), ['3 virtual servers', 'device kube-ipvs0', '2 ipsets'])
  t.same([...machine.servers.keys()], ['-t 192.0.2.9:443'])
  t.same([...machine.sets.keys()], ['other'])
  t.same([...machine.devices.keys()], ['eth0'])
})

t.test('without the device nobody has been in that mode, and nothing is asked of ipvsadm', async t => {
  const machine = left()
  machine.devices.delete('kube-ipvs0')
  t.same(await removeVirtualServers(machine), [])
  t.equal(machine.servers.size, 4)
  t.notOk(machine.ran.some(({ argv }) => argv[0] === 'ipvsadm'))
})
