// A proxier with iptables backends on tables in memory, and Services by number, for the tests of this folder.
import { type EndpointSlice, type IPFamily, type Service, serviceNameLabel } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { type Clock, systemClock } from '../../host/clock.ts'
import type { Iptables } from '../../host/iptables.ts'
import { silentLog } from '../../host/log.ts'
import { createSlices } from '../../host/loop.ts'
import { addresses, nodeName } from '../backend.contract.ts'
import { createProxier } from '../proxier.ts'
import { randomPodRanges } from '../random-changes.fake.ts'
import { defaultSettings, type ProxySettings } from '../settings.ts'
import { createIptablesBackend } from './backend.ts'
import { type FakeIptables, fakeIptables } from './table.fake.ts'
import { v4, v6 } from './words.ts'

export const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const bridges = ['10.244.1.1', 'fd00:244:1::1']
export const nodeIPs = both.map(family => addresses[family].node)
export const ready = { ready: true }

// What is due at once comes in the same millisecond: Node's shortest timer takes a whole one, and thousands are waited for here.
export const clock: Clock = {
  ...systemClock,
  after: (ms, run) => {
    if (ms > 0) return systemClock.after(ms, run)
    const immediate = setImmediate(run)
    return { cancel: () => clearImmediate(immediate) }
  },
}

export interface Start {
  readonly settings?: Partial<ProxySettings>
  readonly variant?: Iptables['variant']
  readonly perTransaction?: number
  /** The kernel of an earlier start. */
  readonly tables?: Readonly<Record<IPFamily, FakeIptables>>
  readonly node?: { readonly name: string; readonly zone: string; readonly ips: readonly string[] }
}

/** A proxier with backends of both families; it is not synced yet. */
export const start = ({ settings: given = {}, variant = 'nft', perTransaction, tables: earlier, node }: Start = {}) => {
  const settings: ProxySettings = {
    ...defaultSettings,
    nodeIPs: node?.ips ?? nodeIPs,
    localTraffic: { by: 'cidr', cidrs: node === undefined ? both.map(family => addresses[family].podRange) : randomPodRanges },
    ...given,
  }
  const fake = () => fakeIptables([...settings.nodeIPs, ...bridges], { variant })
  const tables = earlier ?? { IPv4: fake(), IPv6: fake() }
  const services = createStore<Service>()
  const slices = createStore<EndpointSlice>()
  const turns = createSlices(clock)
  const proxier = createProxier({
    services,
    endpointSlices: slices,
    node: node ?? { name: nodeName, zone: '', ips: nodeIPs },
    backends: [v4, v6].map(words =>
      createIptablesBackend({
        ...{ iptables: tables[words.family], words, variant, settings: () => settings, slices: turns },
        ...(perTransaction !== undefined && { perTransaction }),
      }),
    ),
    conntrack: { list: async () => [], remove: async () => undefined },
    clock,
    log: silentLog,
    slices: turns,
    minGapMs: 0,
  })
  const sync = async () => {
    services.markSynced()
    slices.markSynced()
    await proxier.settled()
  }
  return { tables, services, slices, proxier, sync }
}

const toCluster = { fromNode: false, from: addresses.IPv4.pod, protocol: 'tcp', port: 80 } as const
const octets = (index: number) => `${(index >> 8) & 255}.${index & 255}`
export const service = (index: number, spec: Partial<Service['spec']> = {}): Service => ({
  metadata: { namespace: 'many', name: `s${index}` },
  spec: { type: 'ClusterIP', clusterIP: `10.96.${octets(index)}`, ports: [{ port: 80 }], ...spec },
})
export const slice = (index: number, endpoints: readonly number[]): EndpointSlice => ({
  metadata: { namespace: 'many', name: `s${index}`, labels: { [serviceNameLabel]: `s${index}` } },
  addressType: 'IPv4',
  ports: [{ port: 8080 }],
  endpoints: endpoints.map(at => ({ addresses: [`10.${100 + at}.${octets(index)}`] })),
})
/** Services by number, of two endpoints each. */
export const many = (to: ReturnType<typeof start>, count: number) => {
  for (let index = 0; index < count; index++) {
    to.services.put(service(index))
    to.slices.put(slice(index, [0, 1]))
  }
}
/** Whether a pod that calls this Service is sent to an endpoint. */
export const reaches = (tables: Readonly<Record<IPFamily, FakeIptables>>, index: number): boolean => {
  const verdict = tables.IPv4.walk({ ...toCluster, to: `10.96.${octets(index)}` })
  return typeof verdict === 'object' && verdict.translated
}

/** Chains and rules of all tables, in the order of the chains' names. */
export const shown = (tables: Readonly<Record<IPFamily, FakeIptables>>) =>
  both.flatMap(family => [...tables[family].tables].map(([table, chains]) => [family, table, [...chains].sort()]))
