// Ten thousand random changes of Services by the iptables mode leave in the kernel what one full sync of the outcome writes there: by
// both kinds of iptables, in both families. Asks the kernel, not the program.
import t from 'tap'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { createStore, type Store } from '../../api/source.ts'
import { systemClock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import { silentLog } from '../../host/log.ts'
import { createProxy, type Proxy as ServiceProxy } from '../../proxy/main.ts'
import { createRandomChanges, randomNode, randomPodRanges } from '../../proxy/random-changes.fake.ts'
import { type IptablesKind, ofKind, withPrograms } from '../support/iptables-kind.ts'
import { createNetns } from '../support/netns.ts'

interface Stores {
  readonly services: Store<Service>
  readonly slices: Store<EndpointSlice>
}

/** What the kernel holds, by chain; the order of chains means nothing. */
const rulesOf = async (exec: Exec) => {
  const chains = new Map<string, string[]>()
  for (const command of ['iptables-save', 'ip6tables-save'])
    for (const table of ['nat', 'filter'])
      for (const line of (await exec.run([command, '-t', table])).stdout.split('\n')) {
        const [, chain] = /^(?::|-A )(\S+)/.exec(line) ?? []
        if (chain === undefined) continue
        const name = `${command} ${table} ${chain}`
        chains.set(name, [...(chains.get(name) ?? []), ...(line.startsWith('-A') ? [line] : [])])
      }
  return [...chains].sort(([a], [b]) => (a < b ? -1 : 1))
}

const route = async (variant: IptablesKind, { services, slices }: Stores, change: (proxy: ServiceProxy) => Promise<void>) => {
  const netns = await createNetns()
  try {
    const exec = withPrograms(netns.exec, program => ofKind(program, variant))
    const proxy = await createProxy({
      ...{ services, endpointSlices: slices, nodeName: randomNode.name, zone: randomNode.zone, mode: 'iptables', exec },
      settings: {
        ...{ nodeIPs: randomNode.ips, localTraffic: { by: 'cidr', cidrs: randomPodRanges } },
        ...{ nodePortAddresses: ['0.0.0.0/0', '::/0'], localhostNodePorts: true },
      },
      ...{ clock: systemClock, log: silentLog, prepareKernel: async () => undefined },
    })
    services.markSynced()
    slices.markSynced()
    await proxy.settled()
    await change(proxy)
    await proxy.settled()
    const { failures, drifts } = proxy.status()
    const rules = await rulesOf(exec)
    await proxy.stop()
    return { rules, failures, drifts }
  } finally {
    await netns.remove()
  }
}

for (const [variant, seed] of [
  ['nft', 31],
  ['legacy', 32],
] as const)
  await t.test(`iptables-${variant}`, { timeout: 120_000 }, async t => {
    const stores: Stores = { services: createStore(), slices: createStore() }
    const changed = await route(variant, stores, async proxy => {
      const changes = createRandomChanges({ ...stores, seed })
      for (let step = 0; step < 5_000; step++) {
        changes.next()
        if (step % 250 === 0) await proxy.settled()
      }
    })
    t.match(changed, { failures: 0, drifts: 0 }, 'nothing was refused, and nothing of our own was taken for drift')
    const again: Stores = { services: createStore(), slices: createStore() }
    for (const object of stores.services.list()) again.services.put(object)
    for (const object of stores.slices.list()) again.slices.put(object)
    const anew = await route(variant, again, async () => undefined)
    t.same(changed.rules, anew.rules)
    t.ok(changed.rules.length > 100, `${changed.rules.length} chains`)
  })
