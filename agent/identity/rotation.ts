// Keeps one certificate of the node fresh: loads what is in its files, asks for a successor when certificate.ts says that one is needed,
// tells who uses it. One for the client certificate, one for the serving certificate. Policy is needOf's; tries without end.
// Follows client-go's certificate manager; a file that somebody else replaced is picked up within a minute, as there.
import type { Clock, Millis, Timer } from '../../host/clock.ts'
import { describe } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { hasEnded, needOf, type Pair, type Subject, sameSubject, satisfies } from './certificate.ts'
import { obtainCertificate, type SigningApi } from './obtain.ts'
import type { PairStore } from './pair-store.ts'
import { pauseAfter } from './pause.ts'
import type { Purpose } from './signing-request.ts'
import { type MakeX509, newKey } from './x509.ts'

export interface RotationDeps {
  /** How it is called in the log: `client`, `serving`. */
  readonly name: string
  readonly api: SigningApi
  /** Credentials that are still good when the certificate in use has ended. */
  readonly whenEnded?: (() => Promise<SigningApi & { close?(): void }>) | undefined
  /** What a person can do when it has ended and cannot be renewed. */
  readonly endedAdvice?: string
  readonly store: Pick<PairStore, 'update'>
  /** What is in the files now; undefined when there is nothing. */
  readonly load: () => Promise<Pair | undefined>
  /** Whom the certificate must be for; undefined as long as that is not known. */
  readonly subject: () => Subject | undefined
  readonly purpose: Purpose
  readonly clock: Clock
  readonly log: Log
  readonly makeX509: MakeX509
  /** In [0, 1). */
  readonly random: () => number
  readonly onChange: (pair: Pair) => void
  /** Another one took the place of one that had lived so long; for the metric. */
  readonly onRotated?: ((livedMs: number) => void) | undefined
  readonly expirationSeconds?: number | undefined
  /** The first certificate is replaced at once, whatever its age. */
  readonly replaceFirst?: boolean
}

export interface Rotation {
  /** The certificate in use; undefined when there is none or it has ended. */
  current(): Pair | undefined
  /** How many attempts to renew have failed. */
  readonly failures: number
  /** What `subject` answers may have changed. */
  reconsider(): void
  /** Ends it; resolves when nothing is under way any more. */
  stop(): Promise<void>
}

/** How often the files are looked at, and the wall clock that may have jumped. */
const lookMs = 60_000
/** As long as upstream waits for one request. */
const approvalTimeoutMs = 15 * 60_000

class Rotator implements Rotation {
  readonly #deps: RotationDeps
  readonly #stopping = new AbortController()
  readonly #ended: Promise<void>
  #pair: Pair | undefined
  /** Where in its 70 to 90 % the certificate in use is due. */
  #random: number
  #forced: boolean
  /** What the certificate in use was asked for. */
  #lastAsked: Subject | undefined
  #attempt: { readonly subject: Subject; readonly aborter: AbortController } | undefined
  #failedFor: Subject | undefined
  #notBefore: Millis = Number.NEGATIVE_INFINITY
  #wake: (() => void) | undefined
  #failures = 0
  #told = ''
  #toldEnd = false

  constructor(deps: RotationDeps) {
    this.#deps = deps
    this.#random = deps.random()
    this.#forced = deps.replaceFirst ?? false
    this.#ended = this.#run()
  }

  get failures() {
    return this.#failures
  }

  current() {
    return this.#pair === undefined || hasEnded(this.#pair.facts, this.#deps.clock.now()) ? undefined : this.#pair
  }

  reconsider() {
    const subject = this.#deps.subject()
    if (subject !== undefined) {
      // A request for names that are no longer the node's is not waited for, and its failure says nothing about the next one.
      if (this.#attempt !== undefined && !sameSubject(subject, this.#attempt.subject)) this.#attempt.aborter.abort()
      if (!sameSubject(subject, this.#failedFor)) this.#notBefore = Number.NEGATIVE_INFINITY
    }
    this.#wake?.()
  }

  async stop() {
    this.#stopping.abort()
    this.#attempt?.aborter.abort()
    this.#wake?.()
    await this.#ended
  }

  /** @param askedFor undefined for one that somebody else put there */
  #take(pair: Pair, askedFor?: Subject) {
    if (pair.facts.fingerprint === this.#pair?.facts.fingerprint) return
    this.#pair = pair
    this.#lastAsked = askedFor
    this.#random = this.#deps.random()
    this.#deps.onChange(pair)
  }

  async #load() {
    try {
      const found = await this.#deps.load()
      if (found !== undefined) this.#take(found)
    } catch (error) {
      this.#tell(error, 'certificate file cannot be used')
    }
  }

  // The same failure over and over is one line.
  #tell(error: unknown, message: string, fields: object = {}) {
    const reason = describe(error)
    if (reason !== this.#told) this.#deps.log.warn({ err: error, certificate: this.#deps.name, ...fields }, message)
    this.#told = reason
  }

  #tellFailure(error: unknown) {
    const { endedAdvice = '', name } = this.#deps
    const until = this.#pair && new Date(this.#pair.facts.notAfter).toISOString()
    const ended = this.#pair !== undefined && this.current() === undefined
    const message = ended
      ? `the ${name} certificate ended at ${until} and is not renewed${endedAdvice}`
      : 'certificate not renewed, tries again'
    // Told again when it ends, though the reason is the same.
    if (ended && !this.#toldEnd) this.#told = ''
    this.#toldEnd = ended
    this.#tell(error, message, { until })
  }

  async #run() {
    const { clock } = this.#deps
    let inARow = 0
    while (!this.#stopping.signal.aborted) {
      await this.#load()
      if (this.#stopping.signal.aborted) return
      const subject = this.#deps.subject()
      const need = this.#needFor(subject)
      const waitMs = Math.max(need.do === 'keep' ? need.until - clock.now() : 0, this.#notBefore - clock.monotonic())
      if (subject === undefined || waitMs > 0) {
        await this.#pause(subject === undefined ? lookMs : Math.min(waitMs, lookMs))
        continue
      }
      const error = await this.#renew(subject)
      inARow = error === undefined ? 0 : inARow + 1
      this.#failedFor = error === undefined ? undefined : subject
      this.#notBefore = error === undefined ? Number.NEGATIVE_INFINITY : clock.monotonic() + pauseAfter(error, inARow)
    }
  }

  #needFor(subject: Subject | undefined) {
    const { clock } = this.#deps
    if (subject === undefined) return { do: 'keep', until: clock.now() + lookMs } as const
    if (this.#forced && this.#pair !== undefined) return { do: 'request', why: 'due' } as const
    return needOf(this.#pair?.facts, subject, this.#lastAsked, clock.now(), this.#random)
  }

  /** @returns what went wrong; undefined when it worked or is not wanted any more */
  async #renew(subject: Subject): Promise<unknown> {
    const { clock, expirationSeconds, log, name, purpose, store } = this.#deps
    const before = this.#pair
    const aborter = new AbortController()
    this.#attempt = { subject, aborter }
    let other: (SigningApi & { close?(): void }) | undefined
    try {
      if (this.current() === undefined) other = await this.#deps.whenEnded?.()
      const key = newKey()
      const ask = { key, subject, purpose, resumable: false, timeoutMs: approvalTimeoutMs, expirationSeconds }
      const cert = await obtainCertificate({ ...this.#deps, api: other ?? this.#deps.api }, ask, aborter.signal)
      const pair = await store.update(cert, key, clock.now())
      this.#forced = false
      this.#told = ''
      if (!satisfies(pair.facts, subject))
        log.warn({ certificate: name, asked: subject, got: pair.facts }, 'the signer gave less than was asked for')
      log.info({ certificate: name, until: new Date(pair.facts.notAfter).toISOString() }, 'certificate renewed')
      if (before !== undefined) this.#deps.onRotated?.(clock.now() - before.facts.notBefore)
      this.#take(pair, subject)
      return undefined
    } catch (error) {
      if (aborter.signal.aborted) return undefined
      this.#failures++
      this.#tellFailure(error)
      return error
    } finally {
      other?.close?.()
      this.#attempt = undefined
    }
  }

  #pause(ms: number): Promise<void> {
    if (this.#stopping.signal.aborted) return Promise.resolve()
    return new Promise(resolve => {
      let timer: Timer | undefined
      this.#wake = () => {
        timer?.cancel()
        this.#wake = undefined
        resolve()
      }
      timer = this.#deps.clock.after(ms, this.#wake)
    })
  }
}

/** Starts at once; ends by `stop`. */
export const createRotation = (deps: RotationDeps): Rotation => new Rotator(deps)
