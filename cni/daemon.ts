// The plugin inside the daemon: what the shim passes on is answered here, the plugin and its configuration are put where the runtime
// looks, and what somebody else takes away of interfaces and rules is put back. The runtime alone decides which pod gets what.
import type { Clock } from '../host/clock.ts'
import type { Exec } from '../host/exec.ts'
import { describe } from '../host/fault.ts'
import { type LinkMonitor, watchLinks } from '../host/linkmonitor.ts'
import type { Log } from '../host/log.ts'
import { installPlugin } from './install.ts'
import { systemCniDeps } from './main.ts'
import { createCni } from './plugin.ts'
import { createCniHandler, decodeRequest, encodeReply } from './server.ts'
import { toFault } from './spec.ts'

/** Where the runtime looks for network plugins and their configuration. */
export interface Folders {
  readonly binDir: string
  readonly confDir: string
}

export interface PodNetworkDeps {
  /** The node's pod ranges, once they are known. */
  readonly ranges: Promise<readonly string[]>
  /** Of all pods of the cluster, where the configuration says so; otherwise `exempt` tells as nodes come and go. */
  readonly clusterRanges: readonly string[]
  /** Whether the plugin is to be installed. */
  readonly isOurs: boolean
  readonly dataDir: string
  /** The daemon's socket. */
  readonly socket: string
  /** How to start this program: with CNI_COMMAND in its environment it is the plugin. */
  readonly program: readonly string[]
  /** A pod is given its network. Returns how to tell that this is over. */
  readonly onAdd: (podUid: string) => (error?: unknown) => void
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
}

export interface PodNetwork {
  /** One call of the plugin: the shim's request in, its answer out. */
  answer(body: string): Promise<string>
  /**
   * Puts the plugin where the runtime looks, and releases what no sandbox holds any more. Where the ranges are not known yet, that
   * is done when they are, and pods that need addresses wait for it.
   */
  install(folders: Folders, sandboxIds: Iterable<string>): Promise<void>
  /** Pods that talk to these ranges are seen there with their own address. */
  exempt(ranges: readonly string[]): Promise<void>
  /** Puts back what somebody else took away of our rules. */
  repair(): void
  close(): Promise<void>
}

/** A new Node gets its ranges from the controller manager within this time, or something is wrong there. */
const rangesMs = 3_000

export const createPodNetwork = async (deps: PodNetworkDeps): Promise<PodNetwork> => {
  const { ranges, clusterRanges, dataDir, exec, clock, log } = deps
  const cni = createCni(await systemCniDeps(log), dataDir)
  const call = createCniHandler({ cni })
  const sorry = (error: unknown) => log.error({ err: error }, `the pod network cannot be set up: ${describe(error)}`)
  const ensureBase = () => cni.ensureBase().catch(sorry)
  const heal = async () => {
    const healed = await cni.heal()
    if (healed.length > 0) log.warn({ interfaces: healed }, 'somebody else removed interfaces; they were made anew')
  }
  let links: LinkMonitor | undefined
  let exempted = clusterRanges
  let installed: { readonly podCIDRs: readonly string[]; readonly folders: Folders } | undefined

  const putUp = async (podCIDRs: readonly string[], folders: Folders): Promise<void> => {
    installed = { podCIDRs, folders }
    const { socket, program: standalone } = deps
    const done = await installPlugin({
      ...{ ...folders, socket, standalone, podCIDRs, dataDir },
      ...(exempted.length > 0 && { nonMasqueradeCIDRs: exempted }),
    })
    log.info({ ...done, ...folders }, 'network plugin installed')
    if (done.conflist === 'foreign')
      log.warn({ confDir: folders.confDir }, 'another network configuration stands there: pods get their network from it')
    await ensureBase()
  }
  const follow = () => {
    const onGone = (name: string | undefined) => {
      if (name === undefined || cni.isNeeded(name)) heal().catch(sorry)
    }
    links = watchLinks({ exec, clock, log }, onGone)
    onGone(undefined)
  }
  return {
    answer: async body => {
      const request = decodeRequest(body)
      const { CNI_COMMAND: verb, CNI_ARGS: args = '' } = request.env
      const podUid = /(?:^|;)K8S_POD_UID=([^;]+)/.exec(args)?.[1]
      const end = verb === 'ADD' && podUid !== undefined ? deps.onAdd(podUid) : undefined
      const reply = await call(request)
      end?.(reply.exitCode === 0 ? undefined : toFault(reply))
      return encodeReply(reply)
    },
    install: async (folders, sandboxIds) => {
      if (!deps.isOurs) return
      const known = await Promise.race([ranges, clock.sleep(rangesMs)])
      if (known === undefined) {
        log.warn({}, 'the Node has no podCIDR yet: pods get their network when it has one')
        void ranges
          .then(podCIDRs => putUp(podCIDRs, folders))
          .then(follow)
          .catch(sorry)
        return
      }
      await putUp(known, folders)
      const released = await cni.releaseUnknown(sandboxIds)
      if (released.length > 0) log.info({ released: released.length }, 'released the addresses of sandboxes that are gone')
      follow()
    },
    exempt: async found => {
      if (clusterRanges.length > 0) return
      exempted = found
      if (installed !== undefined) await putUp(installed.podCIDRs, installed.folders).catch(sorry)
    },
    repair: () => void ensureBase(),
    close: () => {
      links?.stop()
      return cni.close()
    },
  }
}
