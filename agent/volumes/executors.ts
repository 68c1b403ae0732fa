// Carries out what plan.ts decided for a volume: one executor per action, so that an action without one does not compile.
// Decides nothing. Each can be repeated at any time and finds out by itself what is there already.

import { release } from 'node:os'
import { namespaceOf } from '../../api/pod.ts'
import type { Source } from '../../api/source.ts'
import type { ConfigMap, Pod, ResourceList, Secret } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { ensureDir } from '../../host/files.ts'
import type { Mounts } from '../../host/mounts.ts'
import { writeVolume } from './atomic.ts'
import { ensureEmptyDir, ensureFolder, type FolderDeps, knowsNoswap } from './folder.ts'
import { ensureHostPath } from './host-path.ts'
import { applyFsGroup } from './ownership.ts'
import { payload } from './payload.ts'
import type { FilesAction, TokenSource, VolumeAction } from './plan.ts'

/** Issues and renews the tokens of service accounts; asked at every preparation and refresh, so it has to remember. */
export interface TokenProvider {
  token(pod: Pod, wanted: TokenSource): Promise<string>
}

export interface ExecutorDeps {
  readonly mounts: Mounts
  readonly clock: Pick<Clock, 'now' | 'sleep'>
  readonly configMaps: Pick<Source<ConfigMap>, 'get'>
  readonly secrets: Pick<Source<Secret>, 'get'>
  readonly allocatable: () => ResourceList
  readonly tokens?: TokenProvider
}

const tokensOf = async (provider: TokenProvider | undefined, pod: Pod, { sources }: FilesAction) => {
  const tokens = new Map<string, string>()
  for (const source of sources) {
    if (source.from !== 'token') continue
    if (provider === undefined) {
      throw new Fault('volume', 'serviceAccountToken needs an apiserver that issues it, and this node runs without one', {
        retry: 'never',
      })
    }
    tokens.set(source.path, await provider.token(pod, source))
  }
  return tokens
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
    const files = payload({
      pod,
      action,
      configMap: name => deps.configMaps.get(namespaceOf(pod), name),
      secret: name => deps.secrets.get(namespaceOf(pod), name),
      allocatable: deps.allocatable(),
      tokens: await tokensOf(deps.tokens, pod, action),
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
    // pulled by the images part, mounted by the runtime
    image: async () => false,
  } satisfies { [K in VolumeAction['do']]: Executor<Extract<VolumeAction, { do: K }>> }
  return (pod, action) => (executors[action.do] as Executor<VolumeAction>)(pod, action)
}
