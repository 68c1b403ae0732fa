// The plugin: a call in, a reply out, for daemon and standalone program alike. Decodes, takes the lock of the data folder once and
// keeps it, and lets calls about different containers run beside each other; those about one container go one after the other.
import { isFault } from '../host/fault.ts'
import { attach, detach } from './attach.ts'
import { check, status } from './check.ts'
import { type AttachmentKey, defaultDataDir, type NetworkConf, parseConf, versionOf } from './conf.ts'
import { collect, releaseUnknown } from './gc.ts'
import { heal, isNeeded } from './heal.ts'
import { loopback } from './loopback.ts'
import { type CniDeps, holdNetworks, type Networks } from './networks.ts'
import {
  CniFault,
  type CniReply,
  type CniRequest,
  cniCodes,
  errorReply,
  formatResult,
  loopbackUp,
  parseTarget,
  supportedVersions,
  type Target,
  versionReply,
} from './spec.ts'
import type { Attachment } from './store.ts'

export interface Cni {
  /** Answers one call of the CNI specification; never throws, an error is a reply too. */
  call(request: CniRequest): Promise<CniReply>
  /**
   * Makes bridges, table and every hostPort again from what is on disk; for the daemon's start, and after somebody flushed nftables.
   * @throws Fault when the kernel refuses
   */
  ensureBase(): Promise<void>
  /** Whether a pod would miss this interface of the host; false also while nothing is known yet. */
  isNeeded(link: string): boolean
  /**
   * Makes interfaces of standing pods again that somebody removed.
   * @returns their names
   * @throws Fault when the kernel refuses
   */
  heal(): Promise<readonly string[]>
  /** Releases what belongs to no container of the list, except what is being made right now. @returns what was released */
  releaseUnknown(validContainerIds: Iterable<string>): Promise<readonly Attachment[]>
  /** The attachments of this node, for those who show them. */
  attachments(): Promise<readonly Attachment[]>
  /** Waits for calls under way and lets go of the lock. */
  close(): Promise<void>
}

const nothing: CniReply = { exitCode: 0, stdout: '' }

/** @param dataDir where the calls without a configuration look (`ensureBase`, `releaseUnknown`, `attachments`) */
export const createCni = (deps: CniDeps, dataDir: string = defaultDataDir): Cni => {
  const held = new Map<string, Promise<Networks>>()
  const open = new Set<Networks>()
  const queues = new Map<string, Promise<unknown>>()
  const running = new Set<Promise<unknown>>()

  const hold = (dir: string): Promise<Networks> => {
    const present = held.get(dir)
    if (present !== undefined) return present
    const networks = holdNetworks(deps, dir)
    const drop = () => {
      if (held.get(dir) === networks) held.delete(dir)
    }
    networks.then(it => {
      open.add(it)
      void it.lease.lost.then(() => {
        open.delete(it)
        drop()
      })
    }, drop)
    held.set(dir, networks)
    return networks
  }
  const inTurn = <T>({ containerId, ifname }: AttachmentKey, work: () => Promise<T>): Promise<T> => {
    const key = `${containerId}/${ifname}`
    const turn = (queues.get(key) ?? Promise.resolve()).then(work, work)
    const settled = turn.then(
      () => undefined,
      () => undefined,
    )
    queues.set(key, settled)
    settled.then(() => queues.get(key) === settled && queues.delete(key))
    return turn
  }

  const verbs = {
    ADD: async (conf: NetworkConf, target: Target): Promise<CniReply> => {
      const networks = await hold(conf.dataDir)
      const result = await inTurn(target, () => attach(deps, networks, conf, target))
      return { exitCode: 0, stdout: formatResult(result, conf.cniVersion) }
    },
    DEL: async (conf: NetworkConf, target: Target): Promise<CniReply> => {
      const networks = await hold(conf.dataDir)
      await inTurn(target, () => detach(deps, networks, conf.network.name, target))
      return nothing
    },
    CHECK: async (conf: NetworkConf, target: Target): Promise<CniReply> => {
      const networks = await hold(conf.dataDir)
      await inTurn(target, () => check(deps, networks, conf, target))
      return nothing
    },
    STATUS: async (conf: NetworkConf): Promise<CniReply> => {
      await status(await hold(conf.dataDir), conf)
      return nothing
    },
    GC: async (conf: NetworkConf): Promise<CniReply> => {
      if (conf.validAttachments === undefined)
        throw new CniFault(
          cniCodes.invalidConfig,
          'bad-config',
          'GC needs cni.dev/valid-attachments; without it every pod would lose its network',
        )
      await collect(deps, await hold(conf.dataDir), conf.network.name, conf.validAttachments)
      return nothing
    },
  }
  const answer = async ({ env, stdin }: CniRequest): Promise<CniReply> => {
    const target = parseTarget(env)
    if (target.verb === 'VERSION') return versionReply(spoken(stdin))
    const conf = parseConf(stdin)
    if (conf.type !== 'loopback') return verbs[target.verb](conf, target)
    return loopback({ link: deps.link, isUp: env[loopbackUp] !== undefined }, conf, target)
  }
  const call = async (request: CniRequest): Promise<CniReply> => {
    try {
      return await answer(request)
    } catch (error) {
      const { CNI_COMMAND: verb, CNI_CONTAINERID: container } = request.env
      deps.log.warn(
        { err: error, verb, container, ...(isFault(error) && { code: error.code }) },
        'a call of the network plugin failed',
      )
      return errorReply(error, spoken(request.stdin))
    }
  }
  const ensureBase = async () => {
    const networks = await hold(dataDir)
    const used = networks.all().filter(({ store }) => store.all().length > 0)
    networks.table.forget()
    for (const network of networks.all()) network.forgetBase()
    // Where no pod is, the next ADD makes it; where another plugin does the work, nothing of ours is wanted.
    if (used.length > 0) await networks.table.stand()
    for (const network of used) await network.base()
  }
  const healOnce = async () => heal(deps, await hold(dataDir), inTurn)
  let healing: Promise<readonly string[]> = Promise.resolve([])
  return {
    call: request => {
      const reply = call(request)
      running.add(reply)
      void reply.then(() => running.delete(reply))
      return reply
    },
    ensureBase,
    isNeeded: link => [...open].some(networks => isNeeded(networks, link)),
    heal: () => {
      // One after the other: what a repair takes away itself must not look missing to the next.
      healing = healing.then(healOnce, healOnce)
      return healing
    },
    releaseUnknown: async valid => releaseUnknown(deps, await hold(dataDir), new Set(valid)),
    attachments: async () => (await hold(dataDir)).attachments(),
    close: async () => {
      await Promise.all(running)
      for (const holding of held.values()) {
        const networks = await holding.catch(() => undefined)
        await networks?.retirement.settled()
        networks?.table.close()
        networks?.lease.release()
      }
      held.clear()
    },
  }
}

/** The version to answer in: the caller's where we speak it. */
const spoken = (stdin: string): string => supportedVersions.find(version => version === versionOf(stdin)) ?? '1.0.0'
