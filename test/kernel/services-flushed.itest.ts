// Somebody flushes the rules while clients call without a pause: each second of it is theirs. In every mode and kind of iptables that the
// kernel has: when the last call failed, and that one line of the log names what vanished.
import t, { type Test } from 'tap'
import { type EndpointSlice, type Service, serviceNameLabel } from '../../api/service-types.ts'
import { systemClock } from '../../host/clock.ts'
import { addresses, service, slice } from '../../proxy/backend.contract.ts'
import type { Proxy as ServiceProxy } from '../../proxy/main.ts'
import { createServiceRig, type ServiceRig } from '../support/service-rig.ts'
import { patience, waitFor } from '../support/wait.ts'

t.setTimeout(110_000)

const senders = 4
const callMs = 100
const ready = { ready: true }

interface Call {
  readonly at: number
  readonly isAnswered: boolean
}

const udpPort = 45_001

/**
 * Calls from now on until `end`, which returns all of them: of TCP some at a time, each a new connection, and of UDP one that keeps its
 * port, as a resolver does. None waits long.
 */
const keepCalling = (rig: ServiceRig) => {
  const calls = { tcp: [] as Call[], udp: [] as Call[] }
  let running = true
  const timeoutMs = callMs * patience
  const one = async (made: Call[], call: () => Promise<unknown>) => {
    while (running) {
      const at = systemClock.monotonic()
      const outcome = await call()
      made.push({ at, isAnswered: outcome !== 'timeout' && outcome !== 'dropped' && outcome !== 'refused' })
    }
  }
  const udp = () =>
    rig.net.peers.pod.ask({ to: addresses.IPv4.cluster, port: 80, protocol: 'UDP' }, { fromPort: udpPort, timeoutMs })
  const all = Promise.all([
    ...Array.from({ length: senders }, () => one(calls.tcp, () => rig.reach(undefined, 80, timeoutMs))),
    one(calls.udp, udp),
  ])
  return {
    calls,
    end: async () => {
      running = false
      await all
      return calls
    },
  }
}

const more = (rig: ServiceRig, count: number) => {
  for (let index = 0; index < count; index++) {
    const name = `more-${index}`
    const clusterIP = `10.97.${index >> 8}.${index & 255}`
    const metadata = { namespace: 'default', name }
    rig.services.put({ ...service('IPv4', { clusterIP, clusterIPs: [clusterIP] }), metadata } satisfies Service)
    const its: EndpointSlice = slice('IPv4', { a: ready, b: ready })
    rig.slices.put({ ...its, metadata: { ...metadata, labels: { [serviceNameLabel]: name } } })
  }
}

const flushed = async (
  t: Test,
  { rig, proxy }: { readonly rig: ServiceRig; readonly proxy: ServiceProxy },
  { commands, limitMs }: { readonly commands: readonly (readonly string[])[]; readonly limitMs: number },
) => {
  const before = proxy.status()
  rig.lines.length = 0
  const load = keepCalling(rig)
  const isWell = (calls: readonly Call[]) => calls.length > 20 && calls.at(-1)?.isAnswered
  await waitFor('calls that are answered', () => isWell(load.calls.tcp) && isWell(load.calls.udp))
  const began = systemClock.monotonic()
  for (const argv of commands) await rig.exec.run(argv)
  // Their first packets go astray; TCP sends them again after a second, by the same port.
  const { pod } = rig.net.peers
  const patient = [0, 1, 2].map(() => pod.ask({ to: addresses.IPv4.cluster, port: 80 }, { timeoutMs: 8_000 * patience }))
  await waitFor('the repair', () => proxy.status().drifts > before.drifts && proxy.status().synced)
  await proxy.settled()
  // As long again as it may take, so that one that fails late is seen.
  await systemClock.sleep(limitMs)
  const calls = await load.end()
  for (const protocol of ['tcp', 'udp'] as const) {
    const after = calls[protocol].filter(({ at }) => at > began)
    const failed = after.filter(({ isAnswered }) => !isAnswered)
    const tookMs = Math.round((failed.at(-1)?.at ?? began) - began)
    t.comment(`${protocol}: ${after.length} calls, ${failed.length} not answered, the last of these ${tookMs} ms after the flush`)
    t.ok(isWell(after), `${protocol} is answered again`)
    t.ok(tookMs < limitMs * patience, `within ${limitMs} ms`)
  }
  for (const answer of await Promise.all(patient)) t.match(answer, /^[ab] /, 'a connection that was begun meanwhile comes about')
  const told = rig.lines.filter(line => line.includes('somebody else removed rules'))
  t.equal(told.length, 1, 'one line of the log')
  t.match(told[0], /"gone":\[".+"\],"pieces":\d+/, 'names what vanished')
  t.equal(proxy.status().drifts, before.drifts + 1, 'and it counts as one')
  t.equal(proxy.status().failures, before.failures)
  t.ok((await proxy.diff()).same, 'nothing is missing')
}

const reload = ['mangle', 'nat', 'filter'].flatMap(table => [
  ['iptables', '-t', table, '-F'],
  ['iptables', '-t', table, '-X'],
])
const ruleset = [['nft', 'flush', 'ruleset']]

for (const [mode, kind, what, commands, count, limitMs] of [
  ['nftables', 'nft', 'nft flush ruleset', ruleset, 1_000, 1_000],
  ['iptables', 'nft', 'nft flush ruleset', ruleset, 200, 1_000],
  ['iptables', 'nft', 'iptables -F and -X of every table', reload, 200, 1_000],
  // Nobody is told of a change of these tables: they are looked at every second.
  ['iptables', 'legacy', 'iptables -F and -X of every table', reload, 20, 2_000],
] as const)
  await t.test(`${mode}, iptables-${kind}: ${what} among ${count} Services, under load`, async t => {
    const rig = await createServiceRig(t, { kind })
    const proxy = await rig.start(mode)
    rig.services.put(service('IPv4'))
    rig.slices.put(slice('IPv4', { a: ready, b: ready }))
    more(rig, count)
    await proxy.settled()
    await flushed(t, { rig, proxy }, { commands, limitMs })
  })
