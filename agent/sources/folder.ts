// Watches a folder of manifests (or one file): inotify for speed, a slow rescan as the net. Decides nothing: desired.ts does.
// Follows the kubelet's file source: names that begin with a dot are not read, nor are subfolders; a folder that is not there is empty.
// Must not take a file away that is only being rewritten: see `settle`.

import { createHash } from 'node:crypto'
import { watch as watchPath } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Clock, Timer } from '../../host/clock.ts'
import { isErrno } from '../../host/errno.ts'
import { describe } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import {
  combine,
  type Desired,
  describeManifestProblem,
  type FileShare,
  type Node,
  readFileShare,
  unreadableShare,
} from './desired.ts'

export interface Watching {
  close(): void
}
/**
 * Calls `changed` with the name of an entry of the folder, or undefined when it is not known which; `ended` when the folder itself
 * went away or was moved, after which the watch hears nothing more.
 */
export type WatchFolder = (path: string, changed: (name: string | undefined) => void, ended: () => void) => Watching

export interface FolderDeps {
  /** A folder of manifests, or one manifest file. */
  readonly path: string
  readonly nodeName: string
  readonly clock: Clock
  readonly log: Log
  /** Time between two rescans that no event asked for; the kubelet's fileCheckFrequency, 20 s. */
  readonly fileCheckMs?: number
  readonly watch?: WatchFolder
  readonly onChange: (desired: Desired) => void
}

export interface FolderSource {
  /** Resolves when the folder was read for the first time. */
  readonly synced: Promise<void>
  /** Reads the folder now, without waiting for an event. */
  rescan(): Promise<void>
  stop(): void
}

// Events of one save come in a burst; it is read once, this long after the first of them.
const burstMs = 5
// A file that was written less than this ago and gives less than before may be in the middle of being written.
const settleMs = 40
// Whoever rewrites a file in place empties it first, and may have to wait for a busy disk or processor before going on.
const emptySettleMs = 1000
const largestFile = 10 * 1024 * 1024

/** Watches by inotify. */
export const inotify: WatchFolder = (path, changed, ended) => {
  const watcher = watchPath(path, (event, name) => {
    // What happens to the watched path itself comes under its own name. An entry of that name only costs one more watch.
    if (event === 'rename' && name === basename(path)) ended()
    changed(name ?? undefined)
  })
  watcher.on('error', () => {
    ended()
    changed(undefined)
  })
  return watcher
}

interface FileVersion {
  readonly hash: string
  readonly share: FileShare
}

const isRead = (name: string): boolean => !name.startsWith('.') && !name.endsWith('~')
const isGone = (error: unknown): boolean => isErrno(error, 'ENOENT', 'ENOTDIR')
const givesLess = (before: FileShare | undefined, now: FileShare): boolean => {
  const keys = new Set(now.objects.map(({ key }) => key))
  return (
    (before?.objects.some(({ key }) => !keys.has(key)) ?? false) || (before?.problems.length === 0 && now.problems.length > 0)
  )
}

/** The files to read: those of the folder, or the one file; none when nothing is there. */
const listFiles = async (path: string): Promise<readonly string[]> => {
  try {
    const found = await stat(path)
    if (found.isFile()) return [path]
    const entries = await readdir(path)
    return entries.filter(isRead).map(name => join(path, name))
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

type Reading = { readonly text: string; readonly writtenAt: number } | { readonly unreadable: string }

const readOne = async (file: string): Promise<Reading | undefined> => {
  try {
    const found = await stat(file)
    if (!found.isFile()) return undefined
    if (found.size > largestFile) return { unreadable: `${found.size} bytes: want at most ${largestFile}` }
    return { text: await readFile(file, 'utf8'), writtenAt: found.mtimeMs }
  } catch (error) {
    return isGone(error) ? undefined : { unreadable: describe(error) }
  }
}

/** Keeps inotify on the folder, however often it is removed and made again, and on its parent, where it will appear. */
const createWatcher = (path: string, watch: WatchFolder, log: Log, changed: (name: string | undefined) => void) => {
  const parent = dirname(path)
  const watched = new Map<string, { readonly identity: string; readonly watching: Watching }>()
  const drop = (at: string) => {
    watched.get(at)?.watching.close()
    watched.delete(at)
  }
  const keep = async (at: string, onEvent: (name: string | undefined) => void) => {
    try {
      const { dev, ino } = await stat(at)
      const identity = `${dev}:${ino}`
      if (watched.get(at)?.identity === identity) return
      drop(at)
      // A folder that is removed and made again gets the same inode number as often as not: the end of the old one has to be heard.
      const watching = watch(at, onEvent, () => {
        if (watched.get(at)?.watching !== watching) return
        drop(at)
        changed(undefined)
      })
      watched.set(at, { identity, watching })
      // what happened between the last look and now made no event
      changed(undefined)
    } catch (error) {
      drop(at)
      if (!isGone(error))
        log.warn({ path: at, err: error }, 'cannot watch for manifests: changes are found by the slow rescan only')
    }
  }
  return {
    refresh: async () => {
      await keep(parent, name => {
        if (name === undefined || name === basename(path)) changed(undefined)
      })
      await keep(path, changed)
    },
    close: () => {
      for (const at of [...watched.keys()]) drop(at)
    },
  }
}

/** Starts watching; `onChange` is called with everything after the first read and after each read that found a difference. */
export const createFolderSource = (deps: FolderDeps): FolderSource => {
  const { clock, log, fileCheckMs = 20_000, onChange } = deps
  const path = resolve(deps.path)
  const files = new Map<string, FileVersion>()
  const { promise: synced, resolve: resolveSynced } = Promise.withResolvers<void>()
  let stopped = false
  let isSynced = false
  let scanning: Promise<void> | undefined
  let wantsAnother = false
  let burst: { readonly at: number; readonly timer: Timer } | undefined
  let net: Timer | undefined

  // The earliest wins: events that never cease do not put the reading off.
  const soon = (ms: number) => {
    const at = clock.monotonic() + ms
    if (stopped || (burst !== undefined && burst.at <= at)) return
    burst?.timer.cancel()
    const timer = clock.after(ms, () => {
      burst = undefined
      void rescan()
    })
    burst = { at, timer }
  }
  const watcher = createWatcher(path, deps.watch ?? inotify, log, name => {
    // `..data` is the link by which a mounted volume is swapped; other dot names are editors' files
    if (name === undefined || isRead(name) || name === '..data') soon(burstMs)
  })

  const update = (file: string, reading: Reading, node: Node): boolean => {
    const before = files.get(file)
    const content = 'text' in reading ? reading.text : `unreadable ${reading.unreadable}`
    const hash = createHash('md5').update(content).digest('hex')
    if (before?.hash === hash) return false
    const name = basename(file)
    const share =
      'text' in reading
        ? readFileShare(name, reading.text, node, before?.share)
        : unreadableShare(name, reading.unreadable, before?.share)
    if ('text' in reading && givesLess(before?.share, share)) {
      const settledMs = reading.text === '' ? emptySettleMs : settleMs
      if (Math.abs(clock.now() - reading.writtenAt) < settledMs) {
        soon(settledMs)
        return false
      }
    }
    files.set(file, { hash, share })
    for (const problem of share.problems) log.warn({ file }, describeManifestProblem(problem))
    return true
  }

  const scan = async (): Promise<void> => {
    await watcher.refresh()
    const listed = await listFiles(path)
    const node: Node = { name: deps.nodeName, now: new Date(clock.now()).toISOString() }
    const readings = await Promise.all(listed.map(async file => ({ file, reading: await readOne(file) })))
    if (stopped) return
    let changed = false
    const present = new Set<string>()
    for (const { file, reading } of readings) {
      if (reading === undefined) continue
      present.add(file)
      changed = update(file, reading, node) || changed
    }
    for (const file of [...files.keys()]) {
      if (!present.has(file)) changed = files.delete(file) || changed
    }
    if (!changed && isSynced) return
    isSynced = true
    onChange(combine([...files.values()].map(({ share }) => share)))
    resolveSynced()
  }

  const rescan = (): Promise<void> => {
    if (scanning !== undefined) {
      wantsAnother = true
      return scanning
    }
    scanning = (async () => {
      do {
        wantsAnother = false
        await scan().catch(error => log.error({ path, err: error }, 'cannot read the manifests; what they gave before stays'))
      } while (wantsAnother && !stopped)
      scanning = undefined
      net?.cancel()
      if (!stopped) net = clock.after(fileCheckMs, () => void rescan())
    })()
    return scanning
  }

  void rescan()
  return {
    synced,
    rescan,
    stop: () => {
      stopped = true
      burst?.timer.cancel()
      net?.cancel()
      watcher.close()
    },
  }
}
