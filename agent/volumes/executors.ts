// Carries out what plan.ts decided for a volume: one executor per action, so that an action without one does not compile.
// Decides nothing. Each can be repeated at any time and finds out by itself what is there already.

import { release } from 'node:os'
import type { ResourceList } from '../../api/meta.ts'
import { namespaceOf } from '../../api/pod.ts'
import type { ConfigMap, Pod, Secret } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { ensureDir, readInside } from '../../host/files.ts'
import type { Mounts } from '../../host/mounts.ts'
import type { Lookup } from '../sources/references.ts'
import { writeVolume } from './atomic.ts'
import { ensureEmptyDir, ensureFolder, type FolderDeps, knowsNoswap } from './folder.ts'
import { ensureHostPath } from './host-path.ts'
import { ensureDevice, type LocalVolumes } from './local.ts'
import { mountNfs } from './nfs.ts'
import { applyFsGroup } from './ownership.ts'
import { payload } from './payload.ts'
import type { LocalAction, NfsAction } from './persistent.ts'
import type { FilesAction, TokenSource, VolumeAction } from './plan.ts'

/** Issues and renews the tokens of service accounts; asked at every preparation and refresh, so it has to remember. */
export interface TokenProvider {
  /** @param present reads what the file of the token holds already, from an earlier run; undefined when that is nothing */
  token(pod: Pod, wanted: TokenSource, present?: () => Promise<string | undefined>): Promise<string>
  /** The pod's volumes are gone. */
  forget(podUid: string): void
}

export interface ExecutorDeps {
  readonly mounts: Mounts
  readonly clock: Pick<Clock, 'now' | 'sleep'>
  readonly configMaps: Lookup<ConfigMap>
  readonly secrets: Lookup<Secret>
  readonly allocatable: () => ResourceList
  readonly tokens?: TokenProvider
  readonly local: Pick<LocalVolumes, 'setUp'>
}

/** Bytes; tokens of real apiservers have one or two thousand. */
const longestToken = 64 * 1024

const tokensOf = async (provider: TokenProvider | undefined, pod: Pod, { dir, sources }: FilesAction) => {
  const tokens = new Map<string, string>()
  for (const source of sources) {
    if (source.from !== 'token') continue
    if (provider === undefined) {
      throw new Fault('volume', 'serviceAccountToken needs an apiserver that issues it, and this node runs without one', {
        retry: 'never',
      })
    }
    // what cannot be read is no token that could be used again
    const present = () => readInside(dir, source.path, longestToken).then(String, () => undefined)
    tokens.set(source.path, await provider.token(pod, source, present))
  }
  return tokens
}

/** Waits until every object that the files come from was looked up. */
const lookedUp = async ({ configMaps, secrets }: ExecutorDeps, pod: Pod, { sources }: FilesAction): Promise<void> => {
  for (const source of sources) {
    if (source.from === 'configmap') await configMaps.known?.(namespaceOf(pod), source.name)
    if (source.from === 'secret') await secrets.known?.(namespaceOf(pod), source.name)
  }
}

/** A folder for a nested mount is not made where a file of the volume stands already. */
const ensureNested = async ({ dir, nested }: FilesAction, files: Iterable<string>): Promise<void> => {
  const taken = new Set([...files].map(path => path.split('/', 1)[0]))
  for (const path of nested) {
    if (!taken.has(path.split('/', 1)[0])) await ensureDir(`${dir}/${path}`, 0o755)
  }
}

const createFilesWriter =
  (deps: ExecutorDeps, folder: FolderDeps) =>
  async (pod: Pod, action: FilesAction): Promise<boolean> => {
    // first all that can be missing: a volume that fails leaves nothing behind
    const [tokens] = await Promise.all([tokensOf(deps.tokens, pod, action), lookedUp(deps, pod, action)])
    const files = payload({
      pod,
      action,
      configMap: name => deps.configMaps.get(namespaceOf(pod), name),
      secret: name => deps.secrets.get(namespaceOf(pod), name),
      allocatable: deps.allocatable(),
      tokens,
    })
    await ensureFolder(folder, action.dir, action.tmpfs)
    await ensureNested(action, files.keys())
    const gid = pod.spec.securityContext?.fsGroup
    return writeVolume({
      dir: action.dir,
      payload: files,
      clock: deps.clock,
      own: async () => {
        if (gid !== undefined) await applyFsGroup(action.dir, { gid, readOnly: true, policy: 'Always' })
      },
    })
  }

/** Looks for the same volume in the folders of other pods; the scheduler sees to it too, but for pods that it did not place. */
const checkOnePod = async (mounts: Mounts, { dir, isForOnePod }: LocalAction | NfsAction): Promise<void> => {
  if (!isForOnePod) return
  const volume = dir.split('/').slice(-2).join('/')
  const isElsewhere = (await mounts.list()).some(({ path }) => path !== dir && path.endsWith(`/${volume}`))
  if (isElsewhere) throw new Fault('volume', 'volume uses the ReadWriteOncePod access mode and is already in use by another pod')
}

type Executor<A extends VolumeAction> = (pod: Pod, action: A) => Promise<boolean>

/** Carries out an action; true when files that containers can see have changed. */
export const createExecutor = (deps: ExecutorDeps): Executor<VolumeAction> => {
  const folder: FolderDeps = { mounts: deps.mounts, noswap: knowsNoswap(release()) }
  const executors = {
    'empty-dir': async (pod, action) => {
      await ensureEmptyDir(folder, action, pod.spec.securityContext?.fsGroup)
      return false
    },
    'host-path': async (_, action) => {
      await ensureHostPath(action.path, action.type)
      return false
    },
    files: createFilesWriter(deps, folder),
    local: async (pod, action) => {
      await checkOnePod(deps.mounts, action)
      await deps.local.setUp(pod, action)
      return false
    },
    nfs: async (_, action) => {
      await checkOnePod(deps.mounts, action)
      await mountNfs(deps.mounts, action)
      return false
    },
    device: async (_, action) => {
      await ensureDevice(action)
      return false
    },
    // pulled by the images part, mounted by the runtime
    image: async () => false,
  } satisfies { [K in VolumeAction['do']]: Executor<Extract<VolumeAction, { do: K }>> }
  return (pod, action) => (executors[action.do] as Executor<VolumeAction>)(pod, action)
}
