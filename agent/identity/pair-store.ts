// Certificate and key of one purpose in the certificate folder, in the kubelet's files: PREFIX-<date>.pem holds both, PREFIX-current.pem
// is a symbolic link to the one in use. Other programs (kubeadm, monitoring) read these paths. Decides nothing.
// Follows client-go's FileStore; unlike there the link is replaced in one step, so that a reader never finds none.
import { lstat, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Millis } from '../../host/clock.ts'
import { isErrno, unlessMissing } from '../../host/errno.ts'
import { Fault } from '../../host/fault.ts'
import { ensureDir, writeFileAtomic } from '../../host/files.ts'
import { type Pair, parsePair } from './certificate.ts'

export interface PairStore {
  /** The link to the file in use, whether it is there or not. */
  readonly currentPath: string
  /** What the link leads to; undefined when there is none. @throws Fault `certificate` when it cannot be used, `io` */
  current(): Promise<Pair | undefined>
  /** Writes a new file (0600) and leads the link to it. @throws Fault `certificate` when the two do not belong together, `io` */
  update(cert: string, key: string, now: Millis): Promise<Pair>
}

/** The kubelet's way to write a date into a file name, in UTC. */
const stampOf = (now: Millis) => new Date(now).toISOString().slice(0, 19).replaceAll(/[T:]/g, '-')

const isLink = async (path: string): Promise<boolean | undefined> => (await unlessMissing(lstat(path)))?.isSymbolicLink()

/** Reads a pair from two files, which may be one. Undefined when either is missing. @throws Fault `certificate`, `io` */
export const readPair = async (certFile: string, keyFile: string): Promise<Pair | undefined> => {
  const read = (file: string) => unlessMissing(readFile(file, 'utf8'))
  try {
    const [cert, key] = await Promise.all([read(certFile), read(keyFile)])
    if (cert === undefined || key === undefined) return undefined
    return parsePair(cert, key, certFile === keyFile ? certFile : `${certFile} and ${keyFile}`)
  } catch (cause) {
    if (cause instanceof Fault) throw cause
    throw new Fault('io', `${certFile} or ${keyFile} cannot be read`, { cause })
  }
}

/** What changes when a file is replaced, by rename or in place; empty when it is not there. Links are followed. */
export const stateOf = async (...files: readonly string[]): Promise<string> => {
  const found = await Promise.all(files.map(file => unlessMissing(stat(file))))
  return found.map(it => (it === undefined ? '' : `${it.dev}:${it.ino}:${it.size}:${it.mtimeMs}`)).join(' ')
}

/** @param folder made with mode 0755 at the first update @param prefix `kubelet-client` or `kubelet-server` */
export const createPairStore = (folder: string, prefix: string): PairStore => {
  const currentPath = join(folder, `${prefix}-current.pem`)
  const updatedPath = join(folder, `${prefix}-updated.pem`)

  // A kubelet takes the old link away before it moves the new one there, and may be killed in between.
  const recover = async () => {
    if ((await isLink(currentPath)) !== undefined || (await isLink(updatedPath)) !== true) return
    await rename(updatedPath, currentPath)
  }
  const lead = async (target: string) => {
    if ((await isLink(currentPath)) === false)
      throw new Fault('io', `${currentPath} is a file where a symbolic link belongs: move it away`, { retry: 'backoff' })
    await rm(updatedPath, { force: true })
    await symlink(resolve(target), updatedPath)
    await rename(updatedPath, currentPath)
  }
  const write = async (text: string, now: Millis) => {
    const path = join(folder, `${prefix}-${stampOf(now)}.pem`)
    await ensureDir(folder, 0o755)
    await writeFileAtomic(path, text, { mode: 0o600, durable: true })
    await lead(path)
  }
  return {
    currentPath,
    current: async () => {
      await recover()
      return readPair(currentPath, currentPath)
    },
    update: async (cert, key, now) => {
      const pair = parsePair(cert, key, 'the signer’s answer')
      try {
        await write(`${pair.cert}${pair.key}`, now)
      } catch (cause) {
        if (cause instanceof Fault || !isErrno(cause, 'EACCES', 'EROFS', 'ENOSPC', 'ENOTDIR', 'EIO', 'EDQUOT')) throw cause
        throw new Fault('io', `${folder} cannot be written to`, { cause })
      }
      return pair
    },
  }
}
