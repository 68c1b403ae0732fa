// A proxy on the node of a service world, in the mode that is asked for, with stores that a test fills and programs that a test breaks:
// each program of the kernel's rules can be replaced by another file, so that a real process fails in a real way.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { ProxyMode } from '../../api/config/kube-proxy.ts'
import type { IPFamily } from '../../api/service-types.ts'
import { systemClock } from '../../host/clock.ts'
import { createLog } from '../../host/log.ts'
import { addresses, nodeName } from '../../proxy/backend.contract.ts'
import { createProxy, type Proxy as ServiceProxy } from '../../proxy/main.ts'
import { type IptablesKind, ofKind, withPrograms } from './iptables-kind.ts'
import { createServiceStores } from './service-stores.ts'
import { createServiceWorld } from './service-world.ts'
import { waitFor } from './wait.ts'

const both: readonly IPFamily[] = ['IPv4', 'IPv6']

/** Programs by the name under which the proxy starts them, and the file that is started instead. */
type Replaced = Map<string, string>

/** Everything goes again when the test ends. @param kind of iptables, where the mode writes those */
export const createServiceRig = async (t: Test, { kind = 'nft' }: { kind?: IptablesKind } = {}) => {
  const net = await createServiceWorld()
  const folder = await mkdtemp(join(tmpdir(), 'nlt-rig-'))
  const lock = { file: join(folder, 'lock') }
  const replaced: Replaced = new Map()
  const exec = withPrograms(
    net.node.exec,
    program => replaced.get(program) ?? ofKind(program, kind),
    () => ({ XTABLES_LOCKFILE: lock.file }),
  )
  const { services, slices } = createServiceStores()
  services.markSynced()
  slices.markSynced()
  const lines: string[] = []
  let proxy: ServiceProxy | undefined
  t.teardown(async () => {
    await proxy?.stop()
    await net.remove()
    await rm(folder, { recursive: true, force: true })
  })
  const start = async (mode: ProxyMode): Promise<ServiceProxy> => {
    proxy = await createProxy({
      ...{ services, endpointSlices: slices, nodeName, mode, exec, clock: systemClock },
      settings: {
        nodeIPs: both.map(family => addresses[family].node),
        localTraffic: { by: 'cidr', cidrs: both.map(family => addresses[family].podRange) },
      },
      log: createLog({ verbosity: 2, human: false, write: line => lines.push(line) }),
      prepareKernel: async () => undefined,
    })
    return proxy
  }
  const reach = (to = addresses.IPv4.cluster, port = 80, timeoutMs?: number) =>
    net.send({ from: 'pod', to, port }, timeoutMs === undefined ? {} : { timeoutMs })
  return {
    ...{ net, exec, lock, services, slices, lines, start, reach },
    /** From now on this shell script runs in the place of the program, which it finds as `$PROGRAM`. */
    replace: async (program: string, script: string) => {
      const file = join(folder, `${program}-${replaced.size}.sh`)
      const real = ofKind(program, kind)
      await writeFile(file, `#!/bin/sh\nPROGRAM=${real}\nFOLDER=${folder}\n${script}\n`)
      await chmod(file, 0o755)
      replaced.set(program, file)
    },
    /** The program cannot be found any more. */
    lose: (program: string) => void replaced.set(program, join(folder, 'no-such-program')),
    mend: () => replaced.clear(),
    clear: () => {
      for (const { metadata } of services.list()) services.remove(metadata.namespace ?? '', metadata.name)
      for (const { metadata } of slices.list()) slices.remove(metadata.namespace ?? '', metadata.name)
    },
    /** One new connection after the other to the cluster IP while the work goes on; what they met. */
    underLoad: async (work: (more: (count: number) => Promise<unknown>) => Promise<void>): Promise<readonly string[]> => {
      const outcomes: string[] = []
      let running = true
      const load = (async () => {
        while (running) outcomes.push(JSON.stringify(await reach()))
      })()
      try {
        await work(count => {
          const wanted = outcomes.length + count
          return waitFor(`${count} connections more`, () => outcomes.length >= wanted)
        })
      } finally {
        running = false
        await load
      }
      return outcomes
    },
  }
}

export type ServiceRig = Awaited<ReturnType<typeof createServiceRig>>
