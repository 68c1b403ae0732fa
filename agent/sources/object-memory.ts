// What pods of the apiserver need to start while it is away: the ConfigMaps, Secrets and tokens that they had last, in one file for root
// alone under the state folder. Keeps and gives back; who may use what stands in references.ts and tokens.ts.
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import * as v from 'valibot'
import type { ConfigMap, Secret } from '../../api/types.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import { openStateFile } from '../../host/state-file.ts'
import type { SavedToken } from '../tokens.ts'
import type { SavedBinding } from './claimed-volumes.ts'

export interface KnownObjects {
  readonly configMaps: readonly ConfigMap[]
  readonly secrets: readonly Secret[]
  readonly tokens: readonly SavedToken[]
  /** The persistent volumes that claims of pods are bound to. */
  readonly bindings: readonly SavedBinding[]
}

export interface ObjectMemory {
  readonly remembered: KnownObjects
  /** Something has changed; what `read` tells a moment later is written. */
  save(read: () => KnownObjects): void
  /** Resolves when everything that was asked to be saved is on the disk. */
  flush(): Promise<void>
}

export interface ObjectMemoryDeps {
  readonly path: string
  /** NodeletConfiguration offline.secrets: without it neither Secrets nor tokens are ever written, and those written earlier go. */
  readonly keepsSecrets: boolean
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}

const object = v.looseObject({ metadata: v.looseObject({ name: v.string(), namespace: v.optional(v.string()) }) })
const token = v.object({
  podUid: v.string(),
  podName: v.string(),
  namespace: v.string(),
  serviceAccount: v.string(),
  audience: v.string(),
  expirationSeconds: v.number(),
  token: v.string(),
  expiresAt: v.number(),
  renewAt: v.number(),
})
const volume = v.looseObject({ metadata: v.looseObject({ name: v.string() }), spec: v.looseObject({}) })
const binding = v.object({ podUid: v.string(), claimName: v.string(), volume })
const known = v.object({
  ...{ configMaps: v.array(object), secrets: v.array(object), tokens: v.array(token) },
  // files of versions that knew no claims have none
  bindings: v.optional(v.array(binding), []),
})

const nothing: KnownObjects = { configMaps: [], secrets: [], tokens: [], bindings: [] }
/** Pods that start together make one write. */
const gatherMs = 1_000

/** @throws errors of the file system other than that the file is missing */
export const openObjectMemory = async (deps: ObjectMemoryDeps): Promise<ObjectMemory> => {
  const { path, keepsSecrets, clock, log } = deps
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const kept = (it: KnownObjects): KnownObjects => (keepsSecrets ? it : { ...it, secrets: [], tokens: [] })
  const file = await openStateFile<KnownObjects>({
    ...{ path, clock, log },
    what: 'the memory of ConfigMaps, Secrets and tokens',
    parse: text => v.parse(known, JSON.parse(text)) as KnownObjects,
    print: it => `${JSON.stringify(kept(it))}\n`,
    durable: true,
  })
  const remembered = kept(file.remembered ?? nothing)
  if (!keepsSecrets && file.remembered !== undefined) file.save(() => remembered)
  let gathering: Timer | undefined
  let pending: (() => KnownObjects) | undefined
  const write = () => {
    gathering?.cancel()
    gathering = undefined
    if (pending !== undefined) file.save(pending)
    pending = undefined
  }
  return {
    remembered,
    save: read => {
      pending = read
      gathering ??= clock.after(gatherMs, write)
    },
    flush: () => {
      write()
      return file.flush()
    },
  }
}
