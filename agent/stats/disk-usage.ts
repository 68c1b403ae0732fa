// What a folder holds on its file system: blocks and inodes, links counted once, other file systems below it left out. Reads only.
// A file that goes away meanwhile is not counted. Follows du(1), by which the kubelet counts.
import { lstat, opendir } from 'node:fs/promises'
import { join } from 'node:path'

export interface DiskUsage {
  readonly bytes: number
  readonly inodes: number
}

const blockBytes = 512

/** Walks the folder; nothing is held in memory but the way to where it is. @returns undefined when there is no such folder */
export const diskUsage = async (folder: string): Promise<DiskUsage | undefined> => {
  const linked = new Set<number>()
  const total = { bytes: 0, inodes: 0 }
  const walk = async (path: string, device?: number): Promise<boolean> => {
    const found = await lstat(path).catch(() => undefined)
    if (found === undefined || (device !== undefined && found.dev !== device)) return false
    const isFolder = found.isDirectory()
    if (!isFolder && found.nlink > 1) {
      if (linked.has(found.ino)) return true
      linked.add(found.ino)
    }
    total.bytes += found.blocks * blockBytes
    total.inodes += 1
    if (!isFolder) return true
    const entries = await opendir(path).catch(() => undefined)
    if (entries === undefined) return true
    for await (const entry of entries) await walk(join(path, entry.name), found.dev)
    return true
  }
  return (await walk(folder)) ? total : undefined
}
