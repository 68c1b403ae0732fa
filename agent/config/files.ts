// Configuration files of this machine: the only part of this folder that touches the disk.
import { readdir, readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { ConfigDeps } from './load.ts'

/** Reads real files. */
export const machineConfig: ConfigDeps = {
  readText: file => readFile(file, 'utf8'),
  filesBelow: async directory => {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true })
    return entries.filter(entry => !entry.isDirectory()).map(entry => join(entry.parentPath, entry.name))
  },
  hostname,
}
