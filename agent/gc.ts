// Which images may go, and why the others stay: a pure plan from what is there, who uses it and how full the disk is.
// Never removed: images in use, pinned ones, the sandbox image (containerd 1.x does not pin it) and those that a pod of this
// node names, since the next restart would have to pull them. Whoever calls asks the runtime and removes.
// Follows k8s.io: Garbage Collection of unused images (imageGCHighThresholdPercent, imageGCLowThresholdPercent,
// imageMinimumGCAge, imageMaximumGCAge).
import type { Image } from '../api/cri/types.ts'
import type { Millis } from '../host/clock.ts'
import { normalizeImageName } from './image-name.ts'

/** What is remembered of an image between two looks. */
export interface ImageRecord {
  readonly firstSeen: Millis
  /** 0 when no container was ever seen to use it. */
  readonly lastUsed: Millis
}

export type ImageRecords = ReadonlyMap<string, ImageRecord>

export interface ImageGcSettings {
  /** Percent of the disk from which images are removed, and down to which. */
  readonly highPercent: number
  readonly lowPercent: number
  readonly minAgeMs: number
  /** Unused for longer than this, an image goes whatever the disk; 0 for never. */
  readonly maxAgeMs: number
}

/** The thresholds as a KubeletConfiguration names them. */
export const imageGcSettings = (config: {
  readonly imageGCHighThresholdPercent: number
  readonly imageGCLowThresholdPercent: number
  readonly imageMinimumGCAge: number
  readonly imageMaximumGCAge: number
}): ImageGcSettings => ({
  highPercent: config.imageGCHighThresholdPercent,
  lowPercent: config.imageGCLowThresholdPercent,
  minAgeMs: config.imageMinimumGCAge,
  maxAgeMs: config.imageMaximumGCAge,
})

export interface ImageGcFacts {
  readonly images: readonly Image[]
  readonly records: ImageRecords
  /** Ids of images that a container, running or not, was made of. */
  readonly inUse: ReadonlySet<string>
  /** Names that must stay: the sandbox image, and images that pods of this node name. */
  readonly named: readonly string[]
  readonly disk: { readonly bytes: number; readonly availableBytes: number }
  /** When this daemon began to look: only from then on is `lastUsed` known. */
  readonly since: Millis
  readonly now: Millis
}

export type KeepReason = 'in use' | 'pinned' | 'named by a pod or the configuration' | 'too young'

export interface ImageGcPlan {
  readonly remove: readonly { readonly id: string; readonly bytes: number; readonly why: 'disk' | 'age' }[]
  readonly keep: readonly { readonly id: string; readonly bytes: number; readonly why: KeepReason }[]
  readonly usedPercent: number
  /** What the disk lacks to the low threshold; 0 below the high one. */
  readonly wantedBytes: number
  /** What is still lacking after the plan: other files than images fill the disk. */
  readonly missingBytes: number
}

/** The records after another look: new images begin now, used ones are used now, those that are gone are forgotten. */
export const observeImages = (
  before: ImageRecords,
  images: readonly Image[],
  inUse: ReadonlySet<string>,
  now: Millis,
): ImageRecords =>
  new Map(
    images.map(({ id }) => {
      const { firstSeen, lastUsed } = before.get(id) ?? { firstSeen: now, lastUsed: 0 }
      return [id, { firstSeen, lastUsed: inUse.has(id) ? now : lastUsed }]
    }),
  )

const tryNormalize = (name: string): string => {
  try {
    return normalizeImageName(name)
  } catch {
    return name
  }
}

const keepReason = (image: Image, facts: ImageGcFacts, named: ReadonlySet<string>, minAgeMs: number): KeepReason | undefined => {
  if (facts.inUse.has(image.id)) return 'in use'
  if (image.pinned) return 'pinned'
  if ([image.id, ...image.repoTags, ...image.repoDigests].some(name => named.has(name)))
    return 'named by a pod or the configuration'
  const record = facts.records.get(image.id)
  return record === undefined || facts.now - record.firstSeen < minAgeMs ? 'too young' : undefined
}

/**
 * What to remove, in this order: by age first, then for the disk from the one that was unused the longest.
 * @param how `all` that may go, whatever the disk: the node runs short
 */
export const planImageGc = (
  facts: ImageGcFacts,
  settings: ImageGcSettings,
  how: 'as-needed' | 'all' = 'as-needed',
): ImageGcPlan => {
  const { disk, now, records } = facts
  const named = new Set(facts.named.flatMap(name => [name, tryNormalize(name)]))
  const keep = facts.images.flatMap(image => {
    const why = keepReason(image, facts, named, settings.minAgeMs)
    return why === undefined ? [] : [{ id: image.id, bytes: image.size, why }]
  })
  const kept = new Set(keep.map(image => image.id))
  const recordOf = (id: string): ImageRecord => records.get(id) ?? { firstSeen: now, lastUsed: now }
  const candidates = facts.images
    .filter(image => !kept.has(image.id))
    .map(image => ({ id: image.id, bytes: image.size, ...recordOf(image.id) }))
    .sort((a, b) => a.lastUsed - b.lastUsed || a.firstSeen - b.firstSeen)

  const usedPercent = disk.bytes > 0 ? 100 - Math.floor((disk.availableBytes * 100) / disk.bytes) : 0
  const isFull = disk.bytes > 0 && usedPercent >= settings.highPercent
  const wantedBytes = isFull ? Math.max(Math.floor((disk.bytes * (100 - settings.lowPercent)) / 100) - disk.availableBytes, 0) : 0
  const agesAreKnown = settings.maxAgeMs > 0 && now - facts.since > settings.maxAgeMs
  const remove: { id: string; bytes: number; why: 'disk' | 'age' }[] = []
  let freed = 0
  for (const { id, bytes, lastUsed, firstSeen } of candidates) {
    const isOld = agesAreKnown && now - Math.max(lastUsed, firstSeen) > settings.maxAgeMs
    if (!isOld && how !== 'all' && freed >= wantedBytes) continue
    remove.push({ id, bytes, why: isOld ? 'age' : 'disk' })
    freed += bytes
  }
  return { remove, keep, usedPercent, wantedBytes, missingBytes: Math.max(wantedBytes - freed, 0) }
}
