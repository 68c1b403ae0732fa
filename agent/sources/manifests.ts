// The folder of manifests as list/watch sources, one per kind, of the same type as those of an apiserver.
// An object that says the same as before is not told again: a changed ConfigMap leaves the pods of its file alone.
import type { KubeObject } from '../../api/meta.ts'
import type { Service } from '../../api/service-types.ts'
import { createStore, type Source, type Store } from '../../api/source.ts'
import type { ConfigMap, Pod, Secret } from '../../api/types.ts'
import type { Manifest, ManifestKind } from '../../api/validate/manifest.ts'
import { type Desired, type DesiredObject, describeManifestProblem, type ManifestProblem } from './desired.ts'
import { createFolderSource, type FolderDeps } from './folder.ts'

/** A problem, and when it was first seen, RFC 3339. */
export interface CurrentProblem extends ManifestProblem {
  readonly since: string
}

export interface ManifestSources {
  /** A pod whose manifest changed is told as changed, with another uid: end the one, start the other. */
  readonly pods: Source<Pod>
  readonly services: Source<Service>
  readonly configMaps: Source<ConfigMap>
  readonly secrets: Source<Secret>
  /** What is wrong with which document, as of now; describeManifestProblem gives one line. */
  problems(): readonly CurrentProblem[]
  rescan(): Promise<void>
  stop(): void
}

// What pods refer to comes before them, and goes after them.
const order: readonly ManifestKind[] = ['ConfigMap', 'Secret', 'Service', 'Pod']

/** Watches the folder and fills the sources; they are synced when it was read for the first time, also when it is not there. */
export const createManifestSources = (deps: Omit<FolderDeps, 'onChange'>): ManifestSources => {
  const stores = {
    Pod: createStore<Pod>(),
    Service: createStore<Service>(),
    ConfigMap: createStore<ConfigMap>(),
    Secret: createStore<Secret>(),
  }
  let current: ReadonlyMap<string, DesiredObject> = new Map()
  let problems: readonly CurrentProblem[] = []

  // each kind has the store of its type; the compiler cannot follow that through the index
  const put = ({ kind, object }: Manifest): void => (stores[kind] as Store<KubeObject>).put(object)

  const onChange = (desired: Desired): void => {
    const before = current
    // the version that was told stays the one that is compared with, with the time when it was first seen
    const after = new Map(
      desired.objects.map(object => {
        const known = before.get(object.key)
        return [object.key, known?.hash === object.hash ? known : object]
      }),
    )
    current = after
    const known = new Map(problems.map(it => [describeManifestProblem(it), it.since]))
    const now = new Date(deps.clock.now()).toISOString()
    problems = desired.problems.map(it => ({ ...it, since: known.get(describeManifestProblem(it)) ?? now }))
    for (const kind of order.toReversed()) {
      for (const { key, manifest } of before.values()) {
        const { namespace = '', name } = manifest.object.metadata
        if (manifest.kind === kind && !after.has(key)) stores[kind].remove(namespace, name)
      }
    }
    for (const kind of order) {
      for (const [key, object] of after) if (object.manifest.kind === kind && before.get(key) !== object) put(object.manifest)
    }
    for (const kind of order) stores[kind].markSynced()
  }

  const folder = createFolderSource({ ...deps, onChange })
  return {
    pods: stores.Pod,
    services: stores.Service,
    configMaps: stores.ConfigMap,
    secrets: stores.Secret,
    problems: () => problems,
    rescan: folder.rescan,
    stop: folder.stop,
  }
}
