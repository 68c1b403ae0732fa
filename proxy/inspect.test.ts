// What a trace gathers and how it reads, with an inspector and a conntrack that say what the test wants; and when a comparison is
// made again. What kernels say is test/kernel's.
import t from 'tap'
import type { EndpointSlice, IPFamily, Service } from '../api/service-types.ts'
import { createStore } from '../api/source.ts'
import { fakeClock } from '../host/clock.fake.ts'
import type { Flow, FlowTarget } from '../host/conntrack.ts'
import { Fault } from '../host/fault.ts'
import { addresses, service, slice } from './backend.contract.ts'
import type { Backend } from './backend.ts'
import { diff, type InspectionDeps, trace } from './inspect.ts'
import type { Compared, Inspector, Piece, Remembered } from './inspect-types.ts'
import { defaultSettings } from './settings.ts'
import type { TraceQuery } from './trace-types.ts'

const { IPv4: v4, IPv6: v6 } = addresses
const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const ready = { ready: true }
const there: Piece = { where: 'service-ips', key: '10.96.0.10 . tcp . 80', wanted: 'goto tcp-pick-1', found: 'goto tcp-pick-1' }
const asked = (target: string, from?: readonly string[]): TraceQuery => ({
  target,
  namespace: 'default',
  from: from && { name: from[0] ?? 'pod default/late', ips: from },
  protocol: 'TCP',
})
const flow = (from: string, to: string): Flow => ({
  ...{
    family: 'IPv4',
    protocol: 'TCP',
    from,
    fromPort: 4000,
    to,
    toPort: 30_080,
    answeredBy: v4.endpoints.a,
    answeredByPort: 8080,
  },
})

interface Kernel {
  readonly pieces?: readonly Piece[]
  readonly remembered?: readonly Remembered[]
  readonly flows?: (target: FlowTarget) => readonly Flow[]
  readonly diffs?: (Compared | undefined)[]
  readonly inspected?: boolean
}
const setUp = ({ pieces = [there], remembered = [], flows = () => [], diffs = [], inspected = true }: Kernel = {}) => {
  const services = createStore<Service>()
  const endpointSlices = createStore<EndpointSlice>()
  services.put(
    service('IPv4', { type: 'NodePort', clusterIPs: [v4.cluster, v6.cluster], ipFamilies: both, sessionAffinity: 'ClientIP' }),
  )
  for (const family of both) endpointSlices.put(slice(family, { a: ready }))
  let settled = 0
  const inspector: Inspector = {
    look: async written => ({ place: 'table ip nodelet-proxy', written, pieces, notAsked: 0, remembered }),
    diff: async () => diffs.shift(),
  }
  const backends = both.map(family => ({ name: 'nftables', family, ...(inspected && { inspector }) }) as unknown as Backend)
  const deps: InspectionDeps = {
    ...{ services, endpointSlices, backends, settings: defaultSettings, clock: fakeClock() },
    node: { name: 'node-1', zone: '', ips: [v4.node, v6.node] },
    flows: { find: async target => flows(target) },
    settled: async () => {
      settled += 1
    },
  }
  return { deps, settled: () => settled }
}

t.test('a caller is told of the addresses that it can send to', async t => {
  const { deps } = setUp()
  const only = await trace(asked('web', [v4.pod]), deps)
  t.same(
    only.body.frontends.map(({ address }) => address),
    ['10.96.0.10:80', '*:30080'],
  )
  t.same(only.body.notes, ['the caller has IPv4 only: 2 addresses of the other family are left out'])
  t.equal((await trace(asked('web', []), deps)).body.frontends.length, 4, 'one whose addresses are not known yet, of all')
})

t.test('connections are asked for by what is known of both ends', async t => {
  const targets: FlowTarget[] = []
  const { deps } = setUp({
    flows: target => {
      targets.push(target)
      return target.toPort === 30_080 ? [flow(v4.outside, v4.node), flow(v4.pod, '192.0.2.80')] : []
    },
  })
  const { body, text } = await trace(asked('web'), deps)
  t.match(targets, [
    { family: 'IPv4', from: '', to: v4.cluster, toPort: 80 },
    { family: 'IPv4', from: '', to: v4.node, toPort: 30_080 },
    { family: 'IPv6', to: v6.cluster },
    { family: 'IPv6', to: v6.node },
  ])
  t.match(body.frontends[1]?.flows, [{ to: v4.node }])
  t.equal(body.frontends[1]?.flows?.length, 1, 'of a node port only those to the node')
  t.match(text, `\n  connections\n    ${v4.outside}:4000  -> ${v4.node}:30080  answered by ${v4.endpoints.a}:8080\n`)
  targets.length = 0
  await trace(asked(`${v4.cluster}:80`, [v4.pod]), deps)
  t.match(targets, [{ from: v4.pod, to: v4.cluster }])
})

t.test('more connections than are shown', async t => {
  const { deps } = setUp({ flows: () => Array.from({ length: 21 }, () => flow(v4.pod, v4.cluster)) })
  const { body, text } = await trace(asked(`${v4.cluster}:80`), deps)
  t.match(body.frontends, [{ moreFlows: true, flows: { length: 20 } }])
  t.match(text, '\n  connections (the first 20)\n')
})

t.test('a host without conntrack is said to be one, and the rest is told', async t => {
  const flows = () => {
    throw new Fault('command', 'conntrack: not there')
  }
  const { body, text } = await trace(asked(`${v4.cluster}:80`), setUp({ flows }).deps)
  t.match(body.frontends, [{ flows: undefined, verdict: 'same' }])
  t.match(text, '\n  connections: conntrack cannot be asked here\n')
})

t.test('what the kernel lacks is told in capitals', async t => {
  const pieces = [there, { ...there, key: 'b', found: undefined }, { ...there, key: 'c', found: 'drop' }]
  const remembered = [
    { frontend: '10.96.0.10 80', endpoint: '10.244.1.11 . 8080', expires: '2h59m' },
    { frontend: '10.96.0.10 80', endpoint: undefined, expires: '5s' },
  ]
  const { text } = await trace(asked(`${v4.cluster}:80`), setUp({ pieces, remembered }).deps)
  for (const line of [
    '    there    service-ips { 10.96.0.10 . tcp . 80 : goto tcp-pick-1 }',
    '    MISSING  service-ips { b : goto tcp-pick-1 }',
    '    DIFFERS  service-ips { c : goto tcp-pick-1 }, and the kernel has drop',
    '  remembered: the caller of 10.96.0.10:80 stays with 10.244.1.11:8080, for 2h59m more',
    '  remembered: the caller of 10.96.0.10:80 stays with an endpoint that has gone: another is drawn, for 5s more',
    '  VERDICT: table ip nodelet-proxy differs in 2 of 3 pieces; `nodelet diff` shows all of it',
  ])
    t.ok(text.split('\n').includes(line), line)
})

t.test('an address that no Service has is a note, and no failure', async t => {
  const { body, text } = await trace(asked('192.0.2.1:80'), setUp().deps)
  t.same(body.frontends, [])
  t.equal(text, '192.0.2.1:80\n  no Service has the address 192.0.2.1: no rule of Services meets the packet\n')
})

const same: Compared = { differences: [], compared: 4 }
t.test('a comparison that something was written under is made again', async t => {
  const { deps, settled } = setUp({ diffs: [undefined, undefined, same, same] })
  t.same(await diff(deps), { same: true, mode: 'nftables', compared: 8, differences: [] })
  t.equal(settled(), 4, 'what is being written is waited for each time')
  await t.rejects(diff(setUp({ diffs: [undefined, undefined, undefined] }).deps), { code: 'kernel-refused', message: /IPv4/ })
  await t.rejects(diff(setUp({ inspected: false }).deps), { code: 'unsupported', message: /nftables cannot be compared/ })
})
