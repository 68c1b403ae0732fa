// FNV-1a, 32 bits: a stable number for a text. For preferences and names only, never where somebody could gain by a collision.

/** A number from 0 to 2^32-1 that is the same for the same text on every machine and in every version. */
export const keyHash = (text: string): number => {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  // FNV's low bits are weak where the texts differ only at the end: stir them once more (murmur3's finalizer)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
