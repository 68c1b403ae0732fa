// The one error type: a code from one table, what was tried, on what object, and whether trying again can help.
// Text of other programs is matched only in the adapter that read it; everybody else branches on `code`.
// docs/errors.md explains each code to a user; a test holds the two together.

/** What went wrong, as a user would look it up. One line each in docs/errors.md. */
export const faultCodes = {
  'bad-config': 'a flag or a configuration file is wrong',
  'bad-manifest': 'a manifest cannot be used as it stands',
  'runtime-away': 'the container runtime does not answer',
  'runtime-timeout': 'a call to the container runtime took too long',
  'runtime-refused': 'the container runtime refused a call',
  'not-found': 'the object is not there (any more)',
  'already-exists': 'the object is there already',
  'image-pull': 'an image could not be pulled',
  'image-never': 'the image is not present and its pull policy is Never',
  'image-name': 'an image name cannot be parsed',
  'container-config': 'a container cannot be configured as its spec asks',
  'container-create': 'the runtime could not create a container',
  'container-start': 'the runtime could not start a container',
  'sandbox-create': 'the runtime could not create a pod sandbox',
  hook: 'a lifecycle hook failed',
  volume: 'a volume could not be prepared',
  'api-away': 'the apiserver does not answer, or not as one',
  'api-busy': 'the apiserver asks to be asked later',
  'api-unauthorized': 'the apiserver does not know who asks',
  'api-forbidden': 'the apiserver does not allow what was asked',
  'api-conflict': 'the object has changed meanwhile',
  'api-expired': 'the apiserver no longer knows the version that was asked for',
  'api-refused': 'the apiserver refused what it was sent',
  certificate: 'a certificate or key is missing, expired or not trusted',
  network: 'a network interface, address or route could not be set up',
  'address-range': 'no free address is left in the pod range',
  'kernel-refused': 'the kernel or its tool refused a change',
  command: 'a program that we ran failed',
  io: 'a file could not be read or written',
  unsupported: 'this host or runtime cannot do what is asked',
} as const

export type FaultCode = keyof typeof faultCodes

/** Whether trying again can help: at once, after a growing pause, or not before something changes. */
export type Retry = 'now' | 'backoff' | 'never'

export interface FaultDetail {
  readonly cause?: unknown
  readonly retry?: Retry
  /** The object that it happened to, as a person would name it: `pod default/web-0`. */
  readonly object?: string
  /** A reason string of upstream's that belongs into a status, such as `ErrImagePull`. */
  readonly reason?: string
  /** After how many milliseconds trying again can help, where that is known. */
  readonly retryAfterMs?: number
}

export class Fault extends Error {
  readonly code: FaultCode
  readonly retry: Retry
  readonly object: string | undefined
  readonly reason: string | undefined
  readonly retryAfterMs: number | undefined

  constructor(code: FaultCode, message: string, detail: FaultDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.name = 'Fault'
    this.code = code
    this.retry = detail.retry ?? 'backoff'
    this.object = detail.object
    this.reason = detail.reason
    this.retryAfterMs = detail.retryAfterMs
  }
}

/** True for a Fault of one of these codes. */
export const isFault = (error: unknown, ...codes: readonly FaultCode[]): error is Fault =>
  error instanceof Fault && (codes.length === 0 || codes.includes(error.code))

/** The error as one line for a status or a log: its message, then those of its causes that add something. */
export const describe = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  const inner = error.cause === undefined ? '' : describe(error.cause)
  return inner === '' || error.message.includes(inner) ? error.message : `${error.message}: ${inner}`
}

/** What a call answers, or undefined when it fails with one of these codes: what is gone already need not be taken away. */
export const except = async <T>(call: Promise<T>, ...codes: readonly FaultCode[]): Promise<T | undefined> => {
  try {
    return await call
  } catch (error) {
    if (isFault(error, ...codes)) return undefined
    throw error
  }
}
