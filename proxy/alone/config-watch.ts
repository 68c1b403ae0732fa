// Tells when the configuration's file says something else than at the start: the program then ends, and is started with the new one.
// Looks at the folder, for a file that is replaced (a ConfigMap's is a link that is turned) is another one from then on.
// Follows kube-proxy 1.36, which ends as well.
import { watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Log } from '../../host/log.ts'

/** @param onChange is called once at most @returns how to stop watching */
export const watchConfig = async (file: string, onChange: () => void, log: Log): Promise<() => void> => {
  // A file that is gone for the moment of its replacement has not changed yet.
  const read = () => readFile(file, 'utf8').catch(() => undefined)
  const before = await read()
  let over = false
  const look = async () => {
    const now = await read()
    if (over || now === undefined || now === before) return
    over = true
    onChange()
  }
  const watcher = watch(dirname(file), () => void look())
  watcher.on('error', error => log.warn({ err: error, file }, 'the configuration cannot be watched: a change needs a restart'))
  return () => {
    over = true
    watcher.close()
  }
}
