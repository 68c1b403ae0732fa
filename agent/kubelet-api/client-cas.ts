// The CAs that client certificates are checked against: a file that is read again when it changes.
// A file that has become unusable changes nothing: the CAs known so far stay, and the log says so.
import { X509Certificate } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock, Timer } from '../../host/clock.ts'
import { describe, Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'

export interface ClientCas {
  /** PEM, at least one certificate. */
  current(): string
  stop(): void
}

export interface ClientCasDeps {
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  readonly onChange: (pem: string) => void
}

/** What the folder's events miss, such as a change on a network file system. */
const lookAgainMs = 60_000
/** A writer who replaces several files tells of each. */
const settleMs = 100

const readCas = async (path: string): Promise<string> => {
  try {
    const pem = await readFile(path, 'utf8')
    for (const [block] of pem.matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)) new X509Certificate(block)
    if (!pem.includes('-----BEGIN CERTIFICATE-----')) throw new Error('there is no certificate in it')
    return pem
  } catch (cause) {
    throw new Fault('certificate', `client CA file ${path} cannot be used`, { cause, retry: 'never' })
  }
}

/** @throws Fault `certificate` when the file cannot be used now */
export const openClientCas = async ({ path, clock, log, onChange }: ClientCasDeps): Promise<ClientCas> => {
  let pem = await readCas(path)
  let isStopped = false
  let timer: Timer | undefined
  let lastProblem = ''
  const look = async () => {
    try {
      const found = await readCas(path)
      lastProblem = ''
      if (isStopped || found === pem) return
      pem = found
      log.info({ path }, 'the client CAs have changed')
      onChange(pem)
    } catch (error) {
      const problem = describe(error)
      if (problem !== lastProblem) log.error({ err: error }, `${problem}; the CAs read before stay in force`)
      lastProblem = problem
    }
  }
  const lookIn = (ms: number) => {
    timer?.cancel()
    if (isStopped) return
    timer = clock.after(ms, () => void look().then(() => lookIn(lookAgainMs)))
  }
  let watcher: FSWatcher | undefined
  try {
    // The folder: files are replaced, by rename or by a link beside them, and not written to.
    watcher = watch(dirname(path), { persistent: false }, () => lookIn(settleMs))
    watcher.on('error', () => undefined)
  } catch (error) {
    log.warn({ err: error }, `changes of ${path} are noticed late: ${describe(error)}`)
  }
  lookIn(lookAgainMs)
  return {
    current: () => pem,
    stop: () => {
      isStopped = true
      timer?.cancel()
      watcher?.close()
    },
  }
}
