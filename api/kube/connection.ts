// Which wire to use now: reads the kubeconfig and its files, notices when they change, and then opens a new wire and retires the old.
// Rotation replaces a certificate file by a symbolic link that is swapped; whoever holds a watch over the old wire is told to ask again.
// Sends nothing itself.
import { stat } from 'node:fs/promises'
import type { Clock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import { describe } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { certificateTrouble } from './answer-faults.ts'
import { runExecPlugin } from './exec-credential.ts'
import { type Kubeconfig, readKubeconfig } from './kubeconfig.ts'
import { createWire, type Wire } from './wire.ts'

export interface Link {
  readonly wire: Wire
  readonly config: Kubeconfig
  readonly token: string | undefined
  /** Aborts when the wire is retired. */
  readonly retired: AbortSignal
}

export interface Connection {
  /**
   * The link for the next call. Files are looked at once a second at most.
   * @throws Fault `bad-config`, `certificate`, `api-unauthorized` while there has never been a usable one
   */
  link(): Promise<Link>
  /** Reads everything anew, since the apiserver does not know who asks. True when there is something new to try. */
  renew(refused: Link): Promise<boolean>
  close(): void
}

export interface ConnectionDeps {
  readonly kubeconfig: string
  /** In place of the kubeconfig's. */
  readonly server?: string
  readonly clock: Clock
  readonly log: Log
  readonly exec: Pick<Exec, 'run'>
}

interface Held extends Link {
  readonly files: string
  /** Milliseconds since the epoch; what an exec plugin answered is taken no longer than that. */
  readonly expiresAt: number
  readonly retire: () => void
}

const lookEveryMs = 1000
// Renewed a little before its end, so that a slow call still arrives in time.
const expiryMarginMs = 10_000

// Follows links, so that a swapped link shows.
const fingerprint = async (files: readonly string[]): Promise<string> => {
  const parts = files.map(async file => {
    const { dev, ino, size, mtimeMs } = await stat(file)
    return `${dev}:${ino}:${size}:${mtimeMs}`
  })
  return (await Promise.all(parts.map(part => part.catch(() => 'missing')))).join(' ')
}

const sameWire = (a: Kubeconfig, b: Kubeconfig): boolean =>
  (['server', 'insecure', 'serverName'] as const).every(field => a[field] === b[field]) &&
  (['ca', 'certificate', 'key'] as const).every(field => a[field]?.pem === b[field]?.pem)

/** Reads nothing before the first `link`. */
export const createConnection = ({ kubeconfig, server, clock, log, exec }: ConnectionDeps): Connection => {
  let held: Held | undefined
  let lookedAt = Number.NEGATIVE_INFINITY
  let looking: Promise<Held> | undefined
  let complained = ''

  const read = async () => {
    // Looked at before they are read for good: a change in between shows at the next look.
    const files = await fingerprint((await readKubeconfig(kubeconfig)).files)
    const whole = await readKubeconfig(kubeconfig)
    const read = server === undefined ? whole : { ...whole, server: server.replace(/\/+$/, '') }
    if (read.exec === undefined) return { config: read, files, token: read.token, expiresAt: Number.POSITIVE_INFINITY }
    const answer = await runExecPlugin(exec, read.exec, read)
    const from = `answered by ${read.exec.argv[0]}`
    const { certificate, key, token = read.token, expiresAt = Number.POSITIVE_INFINITY } = answer
    const own =
      certificate !== undefined && key !== undefined ? { certificate: { pem: certificate, from }, key: { pem: key, from } } : {}
    return { config: { ...read, ...own }, files, token, expiresAt }
  }
  const take = async (): Promise<Held> => {
    const { config, ...rest } = await read()
    if (held !== undefined && sameWire(held.config, config)) return { ...held, ...rest, config }
    const trouble = certificateTrouble(config, clock.now())
    if (trouble !== undefined) log.warn({ err: trouble }, 'the client certificate cannot be used')
    const wire = createWire(config)
    const retirement = new AbortController()
    const retire = () => {
      retirement.abort()
      wire.retire()
    }
    if (held !== undefined)
      log.info({ server: config.server, user: config.user }, 'credentials or server changed: connecting anew')
    held?.retire()
    return { ...rest, config, wire, retired: retirement.signal, retire }
  }
  // A file that is written at this moment may be half there: what worked is kept meanwhile, and one line says so.
  const takeOrKeep = async (): Promise<Held> => {
    try {
      held = await take()
      complained = ''
      return held
    } catch (error) {
      if (held === undefined) throw error
      if (complained !== describe(error)) log.warn({ err: error }, 'changed credentials cannot be used; the ones before are kept')
      complained = describe(error)
      return held
    }
  }
  const look = async (force: boolean): Promise<Held> => {
    const isCurrent =
      held !== undefined && clock.now() < held.expiresAt - expiryMarginMs && (await fingerprint(held.config.files)) === held.files
    lookedAt = clock.monotonic()
    return held !== undefined && isCurrent && !force ? held : takeOrKeep()
  }
  const lookOnce = (force: boolean): Promise<Held> => {
    looking ??= look(force).finally(() => {
      looking = undefined
    })
    return looking
  }

  return {
    link: async () => (held !== undefined && clock.monotonic() - lookedAt < lookEveryMs ? held : lookOnce(false)),
    renew: async refused => {
      const next = await lookOnce(true)
      return next.token !== refused.token || next.wire !== refused.wire
    },
    close: () => held?.retire(),
  }
}
