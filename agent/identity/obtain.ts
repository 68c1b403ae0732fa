// Gets one certificate signed: makes the CertificateSigningRequest, waits until somebody approves it and the signer issues it.
// Tries once; whoever calls it decides when to try again. Stores nothing.
// Follows client-go's csr.RequestCertificate and WaitForCertificate, by polling: a node waits for few of them and not often.
import { certificateSigningRequests, type KubeApi } from '../../api/kube/api.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { Fault, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { parsePair, type Subject } from './certificate.ts'
import { refusedReason } from './pause.ts'
import { type Purpose, requestName, type SigningRequest, toSigningRequest, verdictOf } from './signing-request.ts'
import { type MakeX509, publicKeyOf } from './x509.ts'

export type SigningApi = Pick<KubeApi, 'get' | 'create'>

export interface Ask {
  /** PEM of the private key. */
  readonly key: string
  readonly subject: Subject
  readonly purpose: Purpose
  /** A request for the same key and subject that is there already is taken up again; otherwise the apiserver chooses a name. */
  readonly resumable: boolean
  /** Asked for only; the signer may choose another life. */
  readonly expirationSeconds?: number | undefined
  /** How long to wait for approval and issue. */
  readonly timeoutMs: number
}

export interface ObtainDeps {
  readonly api: SigningApi
  readonly clock: Clock
  readonly log: Log
  readonly makeX509: MakeX509
}

const refused = (name: string, how: string): Fault =>
  new Fault('certificate', `certificate signing request ${name} ${how}`, { object: name, reason: refusedReason })

// A controller approves and signs within a tenth of a second, and a node that joins waits for it.
const firstPauseMs = 100
const longestPauseMs = 10_000
/** With pauses of this length there is no controller that approves: a person is needed, and told. */
const askForHelpMs = 2000

const submit = async ({ api, log }: ObtainDeps, ask: Ask, pem: string): Promise<SigningRequest> => {
  const { purpose, resumable, key, subject, expirationSeconds } = ask
  const name = resumable ? requestName(publicKeyOf(key), subject, purpose.usages) : undefined
  const body = toSigningRequest(pem, purpose, { name, expirationSeconds })
  try {
    const created = await api.create<SigningRequest>({ resource: certificateSigningRequests }, body)
    log.info({ request: created.metadata.name, signer: purpose.signerName }, 'certificate requested')
    return created
  } catch (error) {
    if (name === undefined || !isFault(error, 'already-exists')) throw error
    log.info({ request: name, signer: purpose.signerName }, 'certificate was requested already: goes on with that request')
    return api.get<SigningRequest>({ resource: certificateSigningRequests, name })
  }
}

const checkSame = (request: SigningRequest, ask: Ask) => {
  if (request.spec.signerName === ask.purpose.signerName) return
  throw refused(request.metadata.name, `is addressed to ${request.spec.signerName}, not ${ask.purpose.signerName}`)
}

// The apiserver may be away for a moment while the node waits; what it answers otherwise ends the wait.
const look = async (api: SigningApi, name: string, uid: string | undefined, signal: AbortSignal | undefined) => {
  try {
    const request = await api.get<SigningRequest>({ resource: certificateSigningRequests, name }, signal ? { signal } : {})
    if (request.metadata.uid !== uid) throw refused(name, 'was replaced by another of that name')
    return request
  } catch (error) {
    if (isFault(error, 'not-found')) throw refused(name, 'was deleted before it was issued')
    if (signal?.aborted || !isFault(error, 'api-away', 'api-busy')) throw error
    return undefined
  }
}

/** Waits for a request's end. @throws Fault `certificate` with `refusedReason` when it is denied, fails, is deleted or not issued in time */
const issued = async (deps: ObtainDeps, ask: Ask, first: SigningRequest, signal?: AbortSignal): Promise<string> => {
  const { api, clock, log } = deps
  const { name, uid } = first.metadata
  const deadline: Millis = clock.monotonic() + ask.timeoutMs
  let request: SigningRequest | undefined = first
  let told = false
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 1.5, longestPauseMs)) {
    const verdict = request && verdictOf(request)
    if (verdict?.is === 'issued') return verdict.certificate
    if (verdict?.is === 'refused')
      throw refused(name, `was ${verdict.how === 'denied' ? 'denied' : 'not signed'}: ${verdict.why}`)
    if (clock.monotonic() >= deadline) {
      const missing = verdict?.approved ? 'issued' : 'approved'
      throw refused(name, `was not ${missing} within ${Math.round(ask.timeoutMs / 60_000)} minutes`)
    }
    if (!told && pauseMs >= askForHelpMs && verdict?.is === 'pending') {
      told = true
      const text = verdict.approved ? 'waits to be signed' : `waits for approval: kubectl certificate approve ${name}`
      log.warn({ request: name, signer: ask.purpose.signerName }, `certificate signing request ${text}`)
    }
    await clock.sleep(pauseMs, signal)
    request = await look(api, name, uid, signal)
  }
}

/**
 * A certificate for a key, its chain behind it, as PEM.
 * @throws Fault `certificate` with reason `refusedReason` when the request came to nothing; those of KubeApi; the signal's reason
 */
export const obtainCertificate = async (deps: ObtainDeps, ask: Ask, signal?: AbortSignal): Promise<string> => {
  const pem = await deps.makeX509({ make: 'request', key: ask.key, subject: ask.subject })
  const request = await submit(deps, ask, pem)
  checkSame(request, ask)
  const cert = await issued(deps, ask, request, signal)
  const { facts } = parsePair(cert, ask.key, `the answer to certificate signing request ${request.metadata.name}`)
  // One of an attempt long ago.
  if (facts.notAfter < deps.clock.now())
    throw refused(request.metadata.name, `was issued until ${new Date(facts.notAfter).toISOString()}`)
  return cert
}
