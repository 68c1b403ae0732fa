// What an answer of an apiserver, or the lack of one, means as a Fault: HTTP statuses, Status objects, HTML, sockets and TLS.
// Pure: no I/O. The only place that reads the text and codes of Node's network and TLS errors.
// Follows the API conventions' "Response Status Kind" and "HTTP status codes".
import { X509Certificate } from 'node:crypto'
import { describe, Fault, type FaultCode, type Retry } from '../../host/fault.ts'
import type { Kubeconfig } from './kubeconfig.ts'

/** The part of a metav1.Status that says why. */
export interface Status {
  readonly kind?: string
  readonly message?: string
  readonly reason?: string
  readonly code?: number
  readonly details?: { readonly retryAfterSeconds?: number; readonly causes?: readonly { readonly reason?: string }[] }
}

const codeOf = (status: number, isCreate: boolean): readonly [FaultCode, Retry] => {
  if (status === 401) return ['api-unauthorized', 'backoff']
  if (status === 403) return ['api-forbidden', 'backoff']
  if (status === 404) return ['not-found', 'backoff']
  if (status === 409) return isCreate ? ['already-exists', 'never'] : ['api-conflict', 'now']
  if (status === 410) return ['api-expired', 'now']
  if (status === 429) return ['api-busy', 'backoff']
  return status >= 400 && status < 500 ? ['api-refused', 'never'] : ['api-away', 'backoff']
}

/** The fault that a Status object with its HTTP status stands for. `what` is what was asked: `GET https://…/api/v1/nodes/n1`. */
export const statusFault = (
  what: string,
  code: number,
  status: Status,
  more: { isCreate?: boolean; retryAfterMs?: number } = {},
): Fault => {
  // A create that is refused with 409 for another reason (a namespace that is going, a name generated twice) found nothing there.
  const isCreate = more.isCreate === true && (status.reason === 'AlreadyExists' || status.reason === undefined)
  const [faultCode, retry] = codeOf(code, isCreate)
  const seconds = status.details?.retryAfterSeconds
  const retryAfterMs = more.retryAfterMs ?? (seconds === undefined ? undefined : seconds * 1000)
  const why = status.message ?? `status ${code}`
  return new Fault(faultCode, `${what}: ${why}`, {
    retry,
    ...(status.reason !== undefined && { reason: status.reason }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  })
}

export interface Answered {
  readonly status: number
  readonly contentType: string
  readonly body: string
  readonly isCreate: boolean
  readonly retryAfterMs?: number
}

const begins = (body: string) => JSON.stringify(body.trimStart().slice(0, 60))

/** The fault for an answer that is not the JSON that was asked for, or not a 2xx. */
export const answerFault = (what: string, { status, contentType, body, isCreate, retryAfterMs }: Answered): Fault => {
  const more = { isCreate, ...(retryAfterMs !== undefined && { retryAfterMs }) }
  if (/^application\/json/.test(contentType)) {
    try {
      return statusFault(what, status, JSON.parse(body) as Status, more)
    } catch {
      return new Fault(
        'api-away',
        `${what}: the answer (status ${status}) is torn: it is no JSON and begins with ${begins(body)}`,
      )
    }
  }
  // The apiserver itself says some things in plain text: "404 page not found", "Too many requests", readyz.
  if (status >= 400 && !/html/.test(contentType))
    return statusFault(what, status, { message: body.trim() || `status ${status}` }, more)
  const got = `status ${status} and ${contentType || 'no content type'}, beginning with ${begins(body)}`
  return new Fault('api-away', `${what}: what answers there is no apiserver (${got}); check "server" in the kubeconfig`)
}

const untrusted =
  /^(UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|CERT_SIGNATURE_FAILURE|CERT_UNTRUSTED|INVALID_CA)$/
const refusedOurs =
  /alert (bad certificate|certificate (expired|unknown|required|revoked)|unknown ca|unsupported certificate)|SSL alert number (4[2-8]|116)/i

const trustOf = ({ ca, path }: Kubeconfig): string => ca?.from ?? `the system's certificate authorities (${path} names none)`

/** The fault for a call that got no answer. */
export const wireFault = (what: string, error: unknown, config: Kubeconfig): Fault => {
  if (error instanceof Fault) return error
  const { code = '', message } = error as NodeJS.ErrnoException
  const never = { cause: error, retry: 'backoff' } as const
  if (untrusted.test(code))
    return new Fault(
      'certificate',
      `${what}: the apiserver's certificate is not signed by ${trustOf(config)}; put the cluster's CA there`,
      never,
    )
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    const right = "renew it there, and compare both machines' clocks"
    return new Fault(
      'certificate',
      `${what}: the apiserver's certificate ${code === 'CERT_HAS_EXPIRED' ? 'has expired' : 'is not valid yet'}; ${right}`,
      never,
    )
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const right = 'use a "server" that it names, or set "tls-server-name"'
    return new Fault(
      'certificate',
      `${what}: the apiserver's certificate is for another name (${message}); ${right} in ${config.path}`,
      never,
    )
  }
  if (refusedOurs.test(message))
    return new Fault('certificate', `${what}: the apiserver refused ${config.certificate?.from ?? 'us'}`, never)
  return new Fault('api-away', `${what}: ${describe(error) || code}`, { cause: error })
}

/** Says of the client certificate that it has expired, or is not valid yet; undefined when that is not the trouble. */
export const certificateTrouble = ({ certificate, path }: Kubeconfig, now: number): Fault | undefined => {
  if (certificate === undefined) return undefined
  const { validFromDate, validToDate } = new X509Certificate(certificate.pem)
  const named = `the client certificate ${certificate.from}`
  const clock = `this machine's clock says ${new Date(now).toISOString()}`
  if (now > validToDate.getTime()) {
    const right = `join the node again (kubeadm join, or a bootstrap kubeconfig), or put a new one into ${path}`
    return new Fault('certificate', `${named} was valid until ${validToDate.toISOString()} (${clock}): ${right}`, {
      retry: 'backoff',
    })
  }
  if (now >= validFromDate.getTime()) return undefined
  const right = 'set the clock, or wait'
  return new Fault('certificate', `${named} is not valid before ${validFromDate.toISOString()} (${clock}): ${right}`, {
    retry: 'backoff',
  })
}
