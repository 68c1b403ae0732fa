// The volumes of this node's pods: prepared before a start, kept up to date while a pod runs, taken away after its end.
// The disk and the mount table are the only memory: everything can be repeated after a crash. What is done for which
// volume is decided in plan.ts. Follows k8s.io: Volumes; paths and messages are the kubelet's.

import { access, realpath } from 'node:fs/promises'
import type { Device, ImageSpec, KeyValue, Mount } from '../../api/cri/types.ts'
import { fullName } from '../../api/pod.ts'
import type { PersistentVolume } from '../../api/storage.ts'
import type { Container, Pod, Volume } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import { describe, Fault, isFault } from '../../host/fault.ts'
import { ensureDir } from '../../host/files.ts'
import type { Log } from '../../host/log.ts'
import { createMounts, type Mounts } from '../../host/mounts.ts'
import { type ClaimedVolume, type ClaimWish, claimOf } from './claims.ts'
import { containerFiles } from './container-files.ts'
import { containerDevices, containerMounts } from './container-mounts.ts'
import { readEnvFiles } from './env-files.ts'
import { createExecutor, type ExecutorDeps } from './executors.ts'
import { createLocalVolumes } from './local.ts'
import { podDir, podsDir, subPathTarget, volumeDir, volumesDir } from './paths.ts'
import type { NodeFacts } from './persistent.ts'
import { planVolume, type References, references, usedVolumes, type VolumeAction } from './plan.ts'
import { createQueues } from './queues.ts'
import { prepareSubPath } from './subpath.ts'
import { podFolders, removeMounted, removeSubPaths } from './teardown.ts'

export interface VolumesDeps extends Omit<ExecutorDeps, 'mounts' | 'local'> {
  /** `--root-dir`: /var/lib/kubelet. */
  readonly rootDir: string
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
  readonly clusterDomain: string
  /** The node's own hosts file, for pods on its network; default /etc/hosts. */
  readonly nodeHostsFile?: string
  /** Finds the volumes behind claims; absent: there is no control plane that binds any. */
  readonly claims?: ClaimSource
  /** What volumes that belong to some nodes only are held against. */
  readonly node?: () => NodeFacts
  /** Whether the runtime handler of a pod knows recursive read-only mounts; default no. */
  readonly supportsRecursiveReadOnly?: (pod: Pod) => boolean
}

/** Where claims of pods lead; asked at every preparation, so it has to remember. */
export interface ClaimSource {
  /** @throws Fault `volume` that says what is wrong with the claim */
  find(pod: Pod, wish: ClaimWish): Promise<ClaimedVolume>
  known(podUid: string, claimName: string): PersistentVolume | undefined
  groups(podUid: string): readonly number[]
  /** The pod's volumes are gone. */
  forget(podUid: string): void
}

export interface ContainerLive {
  readonly podIPs: readonly string[]
  /** Images that were pulled for image volumes, by the volume's name. */
  readonly images?: ReadonlyMap<string, ImageSpec>
}

export interface ContainerVolumes {
  readonly mounts: readonly Mount[]
  readonly devices: readonly Device[]
}

export interface Volumes {
  /**
   * Brings all volumes that the pod's containers use to what the spec asks; called before every start, costs little
   * when all is there.
   * @throws Fault `volume`, reason FailedMount, as `MountVolume.SetUp failed for volume "v" : configmap "x" not found`
   */
  prepare(pod: Pod): Promise<void>
  /**
   * Brings the files of a running pod up to date with their objects.
   * @returns the volumes that changed
   * @throws Fault as prepare; what could not be brought up to date stays as it was
   */
  refresh(pod: Pod): Promise<readonly string[]>
  /** The objects whose change concerns the pod, as `namespace/name`. */
  references(pod: Pod): References
  /** The files that fileKeyRef variables of a container name, for `makeEnv`; those that are not there are left out. */
  envFiles(pod: Pod, container: Container): Promise<ReadonlyMap<string, string>>
  /**
   * Everything to be mounted into a container: its volumes, the pod's hosts file, its termination message file; and its devices.
   * @throws Fault `container-config`, reason CreateContainerConfigError
   */
  mounts(pod: Pod, container: Container, env: readonly KeyValue[], live: ContainerLive): Promise<ContainerVolumes>
  /** Supplemental groups that the pod's volumes ask for; known once it was prepared. */
  groups(pod: Pod): readonly number[]
  /** Where the volume behind a claim is mounted for the pod, when it is a disk of this node; undefined for all others. */
  claimFolder(pod: Pod, volume: string): string | undefined
  /** Lets go of what only this container needed; when it is gone for good. */
  releaseContainer(podUid: string, containerName: string): Promise<void>
  /**
   * Unmounts and removes all of a pod's files, never what is behind a mount; safe to repeat.
   * @throws Fault naming the mount that is in the way
   */
  teardown(podUid: string): Promise<void>
  /** The uids of all pods that have files here, for finding orphans. */
  podFolders(): Promise<string[]>
}

const uidOf = (pod: Pod): string => pod.metadata.uid ?? ''
const objectOf = (pod: Pod): string => `pod ${fullName(pod)}`

/** A volume that is not there, and at which stage it failed. */
interface Problem {
  readonly volume: string
  readonly error: unknown
  readonly stage: 'claim' | 'mount'
}

/** Checks that the kubelet names before it mounts anything. */
const checks: Readonly<Record<string, string>> = {
  NodeAffinity: 'NodeAffinity check failed',
  MountOptionSupport: 'MountOptionSupport check failed',
}

const mountProblem = ({ volume, error }: Problem): string => {
  const check = isFault(error) ? checks[error.reason ?? ''] : undefined
  return `MountVolume.${check ?? 'SetUp failed'} for volume "${volume}" : ${describe(error)}`
}

/** As the kubelet tells of volumes that it cannot even begin with. */
const claimProblems = (problems: readonly Problem[]): string => {
  const names = problems.map(it => it.volume).join(' ')
  const why = problems.map(it => describe(it.error)).join(', ')
  return `Unable to attach or mount volumes: unmounted volumes=[${names}], unattached volumes=[], failed to process volumes=[${names}]: ${why}`
}

const setUpFailed = (pod: Pod, problems: readonly Problem[]): Fault => {
  const ofClaims = problems.filter(it => it.stage === 'claim')
  const ofMounts = problems.filter(it => it.stage === 'mount')
  const messages = [...(ofClaims.length > 0 ? [claimProblems(ofClaims)] : []), ...ofMounts.map(mountProblem)]
  const isHopeless = problems.every(({ error }) => isFault(error) && error.retry === 'never')
  const soonest = Math.min(...problems.map(({ error }) => (isFault(error) && error.retryAfterMs) || Number.POSITIVE_INFINITY))
  return new Fault('volume', messages.join('; '), {
    cause: problems[0]?.error,
    reason: 'FailedMount',
    retry: isHopeless ? 'never' : 'backoff',
    object: objectOf(pod),
    ...(Number.isFinite(soonest) && { retryAfterMs: soonest }),
  })
}

const isSelinuxOn = async (): Promise<boolean> => {
  try {
    await access('/sys/fs/selinux/enforce')
    return true
  } catch {
    return false
  }
}

/** A pod and its folder; what is done for its volumes follows from these and from what its claims are bound to. */
interface Place {
  readonly pod: Pod
  readonly dir: string
  /** What is to be done for a volume of this name, or undefined when the pod has none. */
  readonly action: (volume: string) => VolumeAction | undefined
  /** What a message calls a volume: the PersistentVolume where a claim led to one, as with the kubelet. */
  readonly shown: (volume: string) => string
  /** Volumes whose claims led nowhere. */
  readonly unclaimed: ReadonlySet<string>
}

type Claimed = ReadonlyMap<string, PromiseSettledResult<ClaimedVolume>>

/** Where the pod's claims lead, by the volume's name; those of volumes that no container uses are not asked for. */
const lookUpClaims = async ({ claims }: VolumesDeps, pod: Pod): Promise<Claimed | undefined> => {
  if (claims === undefined) return undefined
  const found = usedVolumes(pod).flatMap(volume => {
    const wish = claimOf(pod, volume)
    return wish === undefined ? [] : [Promise.allSettled([claims.find(pod, wish)]).then(([it]) => [volume.name, it] as const)]
  })
  return new Map(await Promise.all(found))
}

const placeOf = async (deps: VolumesDeps, root: string, pod: Pod): Promise<Place> => {
  const dir = podDir(root, uidOf(pod))
  const found = await lookUpClaims(deps, pod)
  const claimed = (name: string): ClaimedVolume => {
    const claim = found?.get(name)
    if (claim?.status === 'fulfilled') return claim.value
    throw claim?.reason ?? new Fault('volume', `the claim of volume ${name} was not looked up`)
  }
  const node = deps.node?.() ?? { name: '', labels: {} }
  const input = { pod, podDir: dir, allocatable: deps.allocatable(), node, ...(found && { claimed }) }
  const action = (name: string) => {
    const volume = pod.spec.volumes?.find(one => one.name === name)
    return volume && planVolume(input, volume)
  }
  const shown = (name: string) => {
    const claim = found?.get(name)
    return claim?.status === 'fulfilled' ? claim.value.volume.metadata.name : name
  }
  const unclaimed = [...(found ?? [])].filter(([, it]) => it.status === 'rejected').map(([name]) => name)
  return { pod, dir, action, shown, unclaimed: new Set(unclaimed) }
}

/** The root folder without symbolic links, made when it is first asked for: the mount table knows real paths only. */
const createRoot = (rootDir: string): (() => Promise<string>) => {
  const make = async () => {
    await ensureDir(podsDir(rootDir), 0o750)
    return realpath(rootDir)
  }
  let made: Promise<string> | undefined
  return async () => {
    made ??= make()
    try {
      return await made
    } catch (error) {
      made = undefined
      throw error
    }
  }
}

/** Volumes made of objects, which can change under a running pod. */
const hasFiles = ({ configMap, secret, downwardAPI, projected }: Volume): boolean =>
  [configMap, secret, downwardAPI, projected].some(it => it !== undefined)

/** Carries out what is wanted for all volumes at once: one that fails or hangs keeps no other from being there. */
const bringUp = async (
  { pod, dir, action, shown, unclaimed }: Place,
  execute: (pod: Pod, action: VolumeAction) => Promise<boolean>,
  volumes: readonly Volume[],
): Promise<readonly string[]> => {
  await ensureDir(dir, 0o750)
  await ensureDir(volumesDir(dir), 0o750)
  const problems: Problem[] = []
  const changed: string[] = []
  const bringUpOne = async (volume: string) => {
    try {
      const wanted = action(volume)
      if (wanted !== undefined && (await execute(pod, wanted))) changed.push(volume)
    } catch (error) {
      problems.push({ volume: shown(volume), error, stage: unclaimed.has(volume) ? 'claim' : 'mount' })
    }
  }
  await Promise.all(volumes.map(({ name }) => bringUpOne(name)))
  if (problems.length > 0) throw setUpFailed(pod, problems)
  return changed
}

const mountsOf = async (
  deps: VolumesDeps & { readonly table: Mounts },
  { pod, dir, action }: Place,
  container: Container,
  env: readonly KeyValue[],
  live: ContainerLive,
): Promise<ContainerVolumes> => {
  const selinux = await isSelinuxOn()
  const ofVolumes = await containerMounts({
    container,
    env,
    action,
    selinux,
    images: live.images ?? new Map(),
    supportsRecursiveReadOnly: deps.supportsRecursiveReadOnly?.(pod) ?? false,
    mountSubPath: ({ index, ...input }) => {
      const target = subPathTarget(dir, input.mountName, container.name, index)
      return prepareSubPath({ mounts: deps.table, log: deps.log }, { ...input, target })
    },
  })
  const { clusterDomain, nodeHostsFile = '/etc/hosts' } = deps
  const files = await containerFiles({ pod, container, podDir: dir, podIPs: live.podIPs, clusterDomain, nodeHostsFile, selinux })
  return { mounts: [...ofVolumes, ...files], devices: containerDevices({ container, action }) }
}

/** What the disk or a tool said, as a reason for the container not to start. */
const asContainerConfig = async <T>(pod: Pod, work: Promise<T>): Promise<T> => {
  try {
    return await work
  } catch (error) {
    if (isFault(error, 'container-config')) throw error
    const reason = 'CreateContainerConfigError'
    throw new Fault('container-config', describe(error), { cause: error, reason, object: objectOf(pod) })
  }
}

export const createVolumes = (deps: VolumesDeps): Volumes => {
  const { log, clock } = deps
  const table = createMounts({ exec: deps.exec })
  const local = createLocalVolumes({ mounts: table, exec: deps.exec, log })
  const execute = createExecutor({ ...deps, mounts: table, local })
  const teardownDeps = { mounts: table, clock, log }
  // one thing at a time for each pod: the writer of files does not stand two at once
  const queues = createQueues()
  const root = createRoot(deps.rootDir)
  const folderOf = async (uid: string): Promise<string> => podDir(await root(), uid)
  const inQueue = <T>(pod: Pod, job: (place: Place) => Promise<T>): Promise<T> =>
    queues.run(uidOf(pod), async () => job(await placeOf(deps, await root(), pod)))

  return {
    references,
    prepare: pod =>
      inQueue(pod, async place => {
        await bringUp(place, execute, usedVolumes(pod))
      }),
    refresh: pod =>
      inQueue(pod, async place => {
        const changed = await bringUp(place, execute, usedVolumes(pod).filter(hasFiles))
        if (changed.length > 0) log.info({ pod: objectOf(pod), volumes: changed }, 'volumes brought up to date')
        return changed
      }),
    envFiles: async (pod, container) => {
      const { action } = await placeOf(deps, await root(), pod)
      return readEnvFiles(container, volume => {
        const found = action(volume)
        return found?.do === 'empty-dir' ? found.dir : undefined
      })
    },
    mounts: (pod, container, env, live) =>
      inQueue(pod, place => asContainerConfig(pod, mountsOf({ ...deps, table }, place, container, env, live))),
    groups: pod => deps.claims?.groups(uidOf(pod)) ?? [],
    claimFolder: (pod, name) => {
      const volume = pod.spec.volumes?.find(it => it.name === name)
      const claim = volume && claimOf(pod, volume)
      const found = claim && deps.claims?.known(uidOf(pod), claim.claimName)
      if (found?.spec.local === undefined || found.spec.volumeMode === 'Block') return undefined
      return volumeDir(podDir(deps.rootDir, uidOf(pod)), 'local-volume', found.metadata.name)
    },
    releaseContainer: (uid, container) =>
      queues.run(uid, async () => removeSubPaths(teardownDeps, await folderOf(uid), container)),
    teardown: uid =>
      queues.run(uid, async () => {
        await removeMounted(teardownDeps, await folderOf(uid))
        await local.releaseDisks(await root())
        deps.tokens?.forget(uid)
        deps.claims?.forget(uid)
      }),
    podFolders: async () => podFolders(await root()),
  }
}
