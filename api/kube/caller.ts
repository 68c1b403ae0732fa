// One call to the apiserver from its first byte to its head: credentials, deadline, "ask me later", and what a failure means.
// Knows URLs and statuses, not objects; client.ts makes the calls, watch.ts reads the streams.
// Follows the API conventions for 429 and 503 with Retry-After, and client-go in how often it is waited for.
import type { Clock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { version } from '../../host/version.ts'
import { answerFault, certificateTrouble, wireFault } from './answer-faults.ts'
import type { CallOptions } from './api.ts'
import type { Connection, Link } from './connection.ts'
import type { Presence } from './presence.ts'
import type { WireAnswer } from './wire.ts'

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly body?: string
  readonly contentType?: string
}

export interface Opened {
  /** `GET https://…`: what was asked, for messages. */
  readonly what: string
  readonly answer: WireAnswer
  readonly link: Link
}

export interface Caller {
  /**
   * Resolves with the head of a 2xx answer that is JSON.
   * @param signal ends the call and the reading of its answer
   * @param deadline monotonic milliseconds until which the server's wish to be asked later is granted
   */
  open(call: Call, signal: AbortSignal, deadline: number): Promise<Opened>
  /** The whole answer as text, within the options' deadline. */
  text(call: Call, options: CallOptions): Promise<string>
}

/** The reason of the fault of a call whose caller wants no answer any more. */
export const givenUp = 'GivenUp'

const defaultTimeoutMs = 30_000
const mostWaits = 10
// Of an answer that is an error or not from an apiserver, more says nothing more.
const errorBytes = 64 * 1024

const header = ({ headers }: WireAnswer, name: string): string => {
  const value = headers[name]
  return typeof value === 'string' ? value : (value?.[0] ?? '')
}

const readText = async (answer: WireAnswer, limit = Number.POSITIVE_INFINITY): Promise<string> => {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > limit) break
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Seconds or an HTTP date, as milliseconds from now; undefined without the header. */
const retryAfter = (answer: WireAnswer, now: number): number | undefined => {
  const value = header(answer, 'retry-after')
  if (value === '') return undefined
  if (/^\d+$/.test(value)) return Number(value) * 1000
  const at = Date.parse(value)
  return Number.isNaN(at) ? undefined : Math.max(0, at - now)
}

interface CallerDeps {
  readonly connection: Connection
  readonly presence: Presence
  readonly clock: Clock
}

/** Aborts when the caller's signal does, or after `ms` with a fault that says so. */
export const withDeadline = (clock: Clock, ms: number, what: string, outer: AbortSignal | undefined) => {
  const controller = new AbortController()
  const onAbort = () =>
    controller.abort(new Fault('api-away', `${what}: given up by the caller`, { cause: outer?.reason, reason: givenUp }))
  const timer = clock.after(ms, () => controller.abort(new Fault('api-away', `${what}: no answer within ${ms / 1000} s`)))
  if (outer?.aborted) onAbort()
  outer?.addEventListener('abort', onAbort, { once: true })
  const end = () => {
    timer.cancel()
    outer?.removeEventListener('abort', onAbort)
  }
  return { signal: controller.signal, end }
}

const headersOf = ({ body, contentType }: Call, { token }: Link): Record<string, string> => ({
  accept: 'application/json',
  'user-agent': `nodelet/${version}`,
  ...(token !== undefined && { authorization: `Bearer ${token}` }),
  ...(body !== undefined && { 'content-type': contentType ?? 'application/json' }),
})

const openOnce = async ({ connection, presence, clock }: CallerDeps, call: Call, signal: AbortSignal): Promise<Opened> => {
  const since = clock.monotonic()
  const link = await connection.link().catch((error: unknown) => {
    if (error instanceof Fault) presence.failed(error, since)
    throw error
  })
  const what = `${call.method} ${link.config.server}${call.path.replace(/\?.*$/, '')}`
  try {
    const { method, path, body } = call
    const asked = { method, path, headers: headersOf(call, link), ...(body !== undefined && { body }), signal }
    return { what, link, answer: await link.wire.send(asked) }
  } catch (error) {
    const seen = wireFault(what, error, link.config)
    const fault = (seen.code === 'certificate' && certificateTrouble(link.config, clock.now())) || seen
    // A caller that gave up says nothing about the apiserver; a deadline does.
    if (fault.reason !== givenUp) presence.failed(fault, since)
    throw fault
  }
}

const readFault = async ({ presence, clock }: CallerDeps, { method }: Call, { what, answer, link }: Opened): Promise<Fault> => {
  const body = await readText(answer, errorBytes).catch((error: unknown) => {
    throw wireFault(what, error, link.config)
  })
  const retryAfterMs = retryAfter(answer, clock.now())
  const fault = answerFault(what, {
    status: answer.status,
    contentType: header(answer, 'content-type'),
    body,
    isCreate: method === 'POST',
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  })
  const stranger = fault.code === 'api-unauthorized' ? certificateTrouble(link.config, clock.now()) : undefined
  const isOther = fault.code === 'api-away' && answer.status < 500
  if (fault.code === 'api-unauthorized' || isOther) presence.failed(stranger ?? fault, clock.monotonic())
  else presence.answered()
  return stranger ?? fault
}

export const createCaller = (deps: CallerDeps): Caller => {
  const { connection, presence, clock } = deps
  const open = async (call: Call, signal: AbortSignal, deadline: number): Promise<Opened> => {
    let hasRenewed = false
    for (let waits = 0; ; ) {
      const opened = await openOnce(deps, call, signal)
      const { answer, link } = opened
      if (answer.status >= 200 && answer.status < 300 && /^application\/json/.test(header(answer, 'content-type'))) {
        presence.answered()
        return opened
      }
      if (answer.status === 401 && !hasRenewed) {
        hasRenewed = true
        if (await connection.renew(link)) {
          answer.body.destroy()
          continue
        }
      }
      const fault = await readFault(deps, call, opened)
      const waitMs = answer.status === 429 || answer.status === 503 ? retryAfter(answer, clock.now()) : undefined
      if (waitMs === undefined || waits === mostWaits || clock.monotonic() + waitMs >= deadline) throw fault
      waits += 1
      await clock.sleep(waitMs, signal)
    }
  }
  return {
    open,
    text: async (call, { signal: outer, timeoutMs = defaultTimeoutMs }) => {
      const { signal, end } = withDeadline(clock, timeoutMs, `${call.method} ${call.path}`, outer)
      try {
        const { what, answer, link } = await open(call, signal, clock.monotonic() + timeoutMs)
        return await readText(answer).catch((error: unknown) => {
          throw signal.aborted ? signal.reason : wireFault(what, error, link.config)
        })
      } finally {
        end()
      }
    },
  }
}
