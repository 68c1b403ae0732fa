// Service routing, our side: the first sync of 1,000 to 30,000 Services of 2 endpoints and of 5,000 Services of 50, one Service more, one
// endpoint gone, the event loop's delay meanwhile, memory, and a restart onto the full table. Prints figures; real nft in a namespace of
// its own. With --run SIZE ENDPOINTS it measures one size in this process, and with a namespace's name after it the restart onto what
// that one has left: memory of one must not be seen in the next.

import { readFile } from 'node:fs/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type EndpointSlice, type Service, serviceNameLabel } from '../api/service-types.ts'
import { createStore, type Store } from '../api/source.ts'
import { systemClock } from '../host/clock.ts'
import { systemExec } from '../host/exec.ts'
import { silentLog } from '../host/log.ts'
import { createProxy } from '../proxy/main.ts'
import type { SyncReport } from '../proxy/proxier.ts'
import { createNetns, execIn, type Netns } from '../test/support/netns.ts'
import { median, print } from './figure.ts'

/** Services, endpoints of each, and what must be, in milliseconds. */
const sizes: readonly Size[] = [
  { size: 1_000, endpoints: 2 },
  { size: 10_000, endpoints: 2 },
  { size: 30_000, endpoints: 2 },
  { size: 5_000, endpoints: 50, firstMs: 15_000 },
]
const repetitions = 15

const octets = (index: number) => `${(index >> 8) & 255}.${index & 255}`
const service = (index: number): Service => ({
  metadata: { namespace: 'bench', name: `service-${index}` },
  spec: {
    type: 'ClusterIP',
    clusterIP: `10.${96 + (index >> 16)}.${octets(index)}`,
    ports: [{ port: 80, protocol: 'TCP', targetPort: 8080 }],
  },
})
const slice = (index: number, endpoints = 2): EndpointSlice => ({
  metadata: { namespace: 'bench', name: `service-${index}-a`, labels: { [serviceNameLabel]: `service-${index}` } },
  addressType: 'IPv4',
  ports: [{ name: '', port: 8080, protocol: 'TCP' }],
  endpoints: Array.from({ length: endpoints }, (_, at) => ({
    addresses: [`10.${180 + at}.${octets(index)}`],
    conditions: { ready: true },
  })),
})

interface Size {
  readonly size: number
  readonly endpoints: number
  readonly firstMs?: number
}

interface Stores {
  readonly services: Store<Service>
  readonly slices: Store<EndpointSlice>
}

/** A page of a list from an apiserver. */
const perPage = 500

/** Starts the proxy and hands it everything page by page, as the reflector does. */
const start = async ({ exec }: Pick<Netns, 'exec'>, { size, endpoints }: Size) => {
  const stores: Stores = { services: createStore(), slices: createStore() }
  const reports: SyncReport[] = []
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const proxy = await createProxy({
    services: stores.services,
    endpointSlices: stores.slices,
    nodeName: 'bench',
    settings: { nodeIPs: ['10.0.0.1'], localTraffic: { by: 'cidr', cidrs: ['10.180.0.0/14'] } },
    exec,
    clock: systemClock,
    log: silentLog,
    prepareKernel: async () => undefined,
    onSynced: report => reports.push(report),
  })
  delay.enable()
  for (let index = 0; index < size; index++) {
    stores.services.put(service(index))
    stores.slices.put(slice(index, endpoints))
    if (index % perPage === 0) await setImmediate()
  }
  const filledMb = await residentMb()
  const syncMs = await timed(async () => {
    stores.services.markSynced()
    stores.slices.markSynced()
    await proxy.settled()
  })
  delay.disable()
  const loop = { p99: delay.percentile(99) / 1e6, longest: delay.max / 1e6 }
  return { proxy, stores, filledMb, syncMs, loop, transactions: reports[0]?.counts.transactions }
}

const printStart = (what: string, { size, endpoints, firstMs }: Size, started: Awaited<ReturnType<typeof start>>) => {
  const { syncMs, loop, transactions } = started
  const of = `${size} Services of ${endpoints} endpoints`
  print({
    ...{ figure: `${of}: ${what}`, unit: 'ms', ours: syncMs, note: `${transactions} transactions` },
    ...(firstMs !== undefined && { under: firstMs }),
  })
  print({
    ...{ figure: `${of}: event loop delay of ${what}, p99`, unit: 'ms', ours: loop.p99 },
    ...{ under: 20, note: `longest ${Math.round(loop.longest)} ms` },
  })
}

const timed = async (run: () => Promise<void>): Promise<number> => {
  const began = systemClock.monotonic()
  await run()
  return systemClock.monotonic() - began
}
const residentMb = async (): Promise<number> => {
  const status = await readFile('/proc/self/status', 'utf8')
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024)
}

const measure = async (each: Size): Promise<void> => {
  const { size, endpoints } = each
  const netns = await createNetns()
  try {
    const idleMb = await residentMb()
    const first = await start(netns, each)
    const { proxy, stores } = first
    const [more, fewer]: [number[], number[]] = [[], []]
    const change = (run: () => void) =>
      timed(async () => {
        run()
        await proxy.settled()
      })
    for (let at = size; at < size + repetitions; at++) {
      const added = await change(() => {
        stores.services.put(service(at))
        stores.slices.put(slice(at))
      })
      more.push(added)
      fewer.push(await change(() => stores.slices.put(slice(at, 1))))
    }
    const syncedMb = await residentMb()
    await proxy.stop()
    const of = `${size} Services of ${endpoints} endpoints`
    printStart('first sync', each, first)
    print({ figure: `${of}: one more`, unit: 'ms', ours: median(more), under: 60, of: repetitions })
    print({ figure: `${of}: an endpoint gone`, unit: 'ms', ours: median(fewer), of: repetitions })
    print({
      figure: `${of}: RSS of a process with nothing but the proxy`,
      ...{ unit: 'MB', ours: syncedMb, note: `idle ${idleMb}, with the objects ${first.filledMb}` },
    })
    process.stdout.write(await runAgain(each, netns.name))
  } finally {
    await netns.remove()
  }
}

const runAgain = async ({ size, endpoints }: Size, netns = ''): Promise<string> => {
  const argv = [process.execPath, fileURLToPath(import.meta.url), '--run', String(size), String(endpoints), netns]
  return (await systemExec.run(argv.filter(Boolean), { timeoutMs: 300_000 })).stdout
}

const measureRestart = async (each: Size, name: string): Promise<void> => {
  const again = await start({ exec: execIn(`/run/netns/${name}`) }, each)
  await again.proxy.stop()
  printStart('a restart onto the full table', each, again)
}

const [, , flag, size, endpoints, name] = process.argv
if (flag === '--run') {
  const wanted: Size = { ...sizes.find(it => it.size === Number(size)), size: Number(size), endpoints: Number(endpoints) }
  await (name === undefined ? measure(wanted) : measureRestart(wanted, name))
} else
  for (const each of flag === undefined ? sizes : sizes.filter(it => it.size === Number(flag)))
    process.stdout.write(`${(await runAgain(each)).trim()}\n`)
