// Service routing, our side: the first sync of 1,000 and 10,000 Services of 2 endpoints, one Service more, one endpoint gone, the
// event loop's delay meanwhile, memory, and a restart onto the full table. Prints figures; real nft in a namespace of its own.
// With --run SIZE it measures one size in this process: memory of one size must not be seen in the next one.

import { readFile } from 'node:fs/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { createStore, type Store } from '../api/source.ts'
import { type EndpointSlice, type Service, serviceNameLabel } from '../api/types.ts'
import { systemClock } from '../host/clock.ts'
import { systemExec } from '../host/exec.ts'
import { silentLog } from '../host/log.ts'
import { createProxy } from '../proxy/main.ts'
import type { SyncReport } from '../proxy/proxier.ts'
import { createNetns, type Netns } from '../test/support/netns.ts'
import { median, print } from './figure.ts'

const sizes = [1_000, 10_000]
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
    addresses: [`10.${200 + at}.${octets(index)}`],
    conditions: { ready: true },
  })),
})

interface Stores {
  readonly services: Store<Service>
  readonly slices: Store<EndpointSlice>
}

const start = async (netns: Netns, { services, slices }: Stores) => {
  const reports: SyncReport[] = []
  const proxy = await createProxy({
    services,
    endpointSlices: slices,
    nodeName: 'bench',
    settings: { nodeIPs: ['10.0.0.1'], localTraffic: { by: 'cidr', cidrs: ['10.200.0.0/14'] } },
    exec: netns.exec,
    clock: systemClock,
    log: silentLog,
    prepareKernel: async () => undefined,
    onSynced: report => reports.push(report),
  })
  return { proxy, reports }
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

const measure = async (size: number): Promise<void> => {
  const netns = await createNetns()
  try {
    const stores: Stores = { services: createStore(), slices: createStore() }
    const idleMb = await residentMb()
    for (let index = 0; index < size; index++) {
      stores.services.put(service(index))
      stores.slices.put(slice(index))
    }
    const filledMb = await residentMb()
    const first = await start(netns, stores)
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const firstMs = await timed(async () => {
      stores.services.markSynced()
      stores.slices.markSynced()
      await first.proxy.settled()
    })
    const firstDelayMs = delay.percentile(99) / 1e6
    const worstDelayMs = delay.max / 1e6
    const more: number[] = []
    const fewer: number[] = []
    for (let at = size; at < size + repetitions; at++) {
      more.push(
        await timed(async () => {
          stores.services.put(service(at))
          stores.slices.put(slice(at))
          await first.proxy.settled()
        }),
      )
      fewer.push(
        await timed(async () => {
          stores.slices.put(slice(at, 1))
          await first.proxy.settled()
        }),
      )
    }
    const syncedMb = await residentMb()
    await first.proxy.stop()
    delay.reset()
    let restart = Number.NaN
    const again = await start(netns, stores)
    restart = await timed(() => again.proxy.settled())
    const restartDelayMs = delay.percentile(99) / 1e6
    delay.disable()
    await again.proxy.stop()
    const of = `${size} Services`
    print({
      figure: `${of}: first sync`,
      unit: 'ms',
      ours: firstMs,
      note: `${first.reports[0]?.counts.transactions} transactions`,
    })
    print({ figure: `${of}: one more`, unit: 'ms', ours: median(more), of: repetitions })
    print({ figure: `${of}: an endpoint gone`, unit: 'ms', ours: median(fewer), of: repetitions })
    print({ figure: `${of}: a restart onto the full table`, unit: 'ms', ours: restart })
    print({
      figure: `${of}: event loop delay of the first sync, p99`,
      ...{
        unit: 'ms',
        ours: firstDelayMs,
        note: `longest ${Math.round(worstDelayMs)} ms, p99 of the restart ${Math.round(restartDelayMs)} ms`,
      },
    })
    print({
      figure: `${of}: RSS of a process with nothing but the proxy`,
      ...{ unit: 'MB', ours: syncedMb, note: `idle ${idleMb}, with the objects ${filledMb}` },
    })
  } finally {
    await netns.remove()
  }
}

const [, , flag, size] = process.argv
if (flag === '--run') await measure(Number(size))
else
  for (const each of flag === undefined ? sizes : [Number(flag)]) {
    const argv = [process.execPath, fileURLToPath(import.meta.url), '--run', String(each)]
    const { stdout } = await systemExec.run(argv, { timeoutMs: 300_000 })
    process.stdout.write(`${stdout.trim()}\n`)
  }
