// hostPath volumes: the check of what the path must be, and the making of what may be made. Their content belongs to the
// node: nothing here or elsewhere removes it. Follows k8s.io: hostPath; the messages are the kubelet's.
import type { Stats } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { isErrno, unlessMissing } from '../../host/errno.ts'
import { Fault } from '../../host/fault.ts'
import { ensureDir } from '../../host/files.ts'

interface PathType {
  readonly is: (stat: Stats) => boolean
  readonly called: string
  readonly make?: (path: string) => Promise<void>
}

const makeFile = async (path: string): Promise<void> => {
  const handle = await open(path, 'a', 0o644)
  try {
    await handle.chmod(0o644)
  } finally {
    await handle.close()
  }
}

const directory: PathType = { is: stat => stat.isDirectory(), called: 'a directory' }
const file: PathType = { is: stat => stat.isFile(), called: 'a file' }

const types: Readonly<Record<string, PathType>> = {
  Directory: directory,
  DirectoryOrCreate: { ...directory, make: path => ensureDir(path, 0o755) },
  File: file,
  FileOrCreate: { ...file, make: makeFile },
  Socket: { is: stat => stat.isSocket(), called: 'a socket file' },
  CharDevice: { is: stat => stat.isCharacterDevice(), called: 'a character device' },
  BlockDevice: { is: stat => stat.isBlockDevice(), called: 'a block device' },
}

/**
 * Sees to it that a path is what its type says; type '' takes whatever is there, or nothing.
 * @throws Fault `volume` with the kubelet's message
 */
export const ensureHostPath = async (path: string, type: string): Promise<void> => {
  if (path.split('/').includes('..')) {
    throw new Fault('volume', `invalid HostPath \`${path}\`: must not contain '..'`, { retry: 'never' })
  }
  if (type === '') return
  const wanted = Object.hasOwn(types, type) ? types[type] : undefined
  if (wanted === undefined) throw new Fault('volume', `${type} is an invalid volume type`, { retry: 'never' })
  const found = await unlessMissing(stat(path)).catch((error: unknown) => {
    if (isErrno(error, 'ENOTDIR')) return undefined
    throw error
  })
  if (found === undefined && wanted.make !== undefined) {
    await wanted.make(path)
    return
  }
  if (found === undefined || !wanted.is(found)) {
    throw new Fault('volume', `hostPath type check failed: ${path} is not ${wanted.called}`)
  }
}
