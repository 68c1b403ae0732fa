// One gRPC call on a connection: one message goes out, any number come back, and a status ends it. Owns the deadline and the
// cancelling; bytes in and out, no schema. How a status reads is in grpc-status.ts.
// Follows gRPC over HTTP/2 for unary and server-streaming calls.
import { type ClientHttp2Session, type ClientHttp2Stream, constants, type OutgoingHttpHeaders } from 'node:http2'
import type { Clock } from '../host/clock.ts'
import { describe, Fault } from '../host/fault.ts'
import { createFrameReader, toFrame } from './grpc-frames.ts'
import type { GrpcSession } from './grpc-session.ts'
import { codes, guessStatus, readStatus, refused, type Status, toFault } from './grpc-status.ts'

export interface GrpcCall {
  /** `/runtime.v1.RuntimeService/Version` */
  readonly path: string
  readonly message: Uint8Array
  /** What it throws, the call fails with. */
  readonly onMessage: (bytes: Buffer) => void
  readonly headers?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** grpc-timeout: at most eight digits, so a day or more is told in seconds. */
const toTimeout = (ms: number): string =>
  ms < 1e8 ? `${Math.max(1, Math.ceil(ms))}m` : `${Math.min(Math.ceil(ms / 1000), 99_999_999)}S`

const toHeaders = ({ path, headers, timeoutMs }: GrpcCall): OutgoingHttpHeaders => ({
  ':method': 'POST',
  ':path': path,
  'content-type': 'application/grpc',
  te: 'trailers',
  ...(timeoutMs !== undefined && { 'grpc-timeout': toTimeout(timeoutMs) }),
  ...headers,
})

const isGrpc = (type: string | undefined) => type === undefined || type.startsWith('application/grpc')

interface Exchange {
  readonly headers: OutgoingHttpHeaders
  readonly frame: Buffer
  readonly onMessage: (bytes: Buffer) => void
  /** By a status, or by what `onMessage` threw; called again, which means nothing, when a stream that was given up is closed. */
  readonly onEnd: (end: { readonly status: Status } | { readonly thrown: unknown }) => void
}

/** Sends the frame, hands on what comes back, and says how it ended. */
const send = (session: ClientHttp2Session, { headers, frame, onMessage, onEnd }: Exchange): ClientHttp2Stream => {
  const stream = session.request(headers)
  let status: Status | undefined
  let httpStatus: number | undefined
  let isReadable = true
  const giveUp = (end: Parameters<typeof onEnd>[0]) => {
    isReadable = false
    onEnd(end)
    stream.close(constants.NGHTTP2_CANCEL)
  }
  const reader = createFrameReader(onMessage)
  stream.on('response', head => {
    httpStatus = head[':status']
    status = readStatus(head)
    // A page of some other server is no message; its HTTP status says what there is to say.
    if (httpStatus !== 200 || !isGrpc(head['content-type'])) isReadable = false
  })
  stream.on('data', (chunk: Buffer) => {
    if (!isReadable) return
    try {
      const broken = reader.read(chunk)
      if (broken) giveUp({ status: broken })
    } catch (thrown) {
      giveUp({ thrown })
    }
  })
  stream.on('trailers', trailers => {
    status = readStatus(trailers)
  })
  // What went wrong with a stream shows when it is closed.
  stream.on('error', () => undefined)
  stream.on('close', () => {
    if (status?.code === codes.ok && !reader.isBetweenMessages()) {
      status = { code: codes.internal, message: 'The answer ended within a message' }
    }
    onEnd({ status: status ?? guessStatus(httpStatus, session.destroyed ? undefined : stream.rstCode) })
  })
  stream.end(frame)
  return stream
}

const toLate = (ms: number): Fault =>
  toFault({ code: codes.deadlineExceeded, message: `Deadline exceeded after ${Math.max(ms, 0) / 1000} s` })

// setTimeout's longest; whoever waits for more than 24 days is left to the server's clock.
const longestTimerMs = 2 ** 31 - 1

/** Cancels a call when its deadline passes or its signal aborts, until the answer is called. */
const watchEnd = (clock: Clock, { signal, timeoutMs }: GrpcCall, cancel: (reason: unknown) => void) => {
  const onAbort = () => cancel(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  const hasTimer = timeoutMs !== undefined && timeoutMs <= longestTimerMs
  const deadline = hasTimer ? clock.after(timeoutMs, () => cancel(toLate(timeoutMs))) : undefined
  return () => {
    signal?.removeEventListener('abort', onAbort)
    deadline?.cancel()
  }
}

/**
 * Makes one call; resolves when the server ended it well.
 * @throws Fault as `Rpc.call` says; the reason of the signal when that aborts; what `onMessage` threw
 */
export const exchange = (session: GrpcSession, clock: Clock, call: GrpcCall): Promise<void> =>
  new Promise((resolve, reject) => {
    if (call.signal?.aborted) return reject(call.signal.reason)
    // A runtime may be quicker than a timer.
    if (call.timeoutMs !== undefined && call.timeoutMs <= 0) return reject(toLate(call.timeoutMs))
    const frame = toFrame(call.message)
    if (!(frame instanceof Uint8Array)) return reject(toFault(frame))

    let stream: ClientHttp2Stream | undefined
    let isOver = false
    const release = session.hold()
    const finish = (settle: () => void) => {
      if (isOver) return
      isOver = true
      unwatch()
      release()
      settle()
    }
    const fail = (reason: unknown) => finish(() => reject(reason))
    const unwatch = watchEnd(clock, call, reason => {
      fail(reason)
      stream?.close(constants.NGHTTP2_CANCEL)
    })
    const onMessage = (bytes: Buffer) => {
      if (!isOver) call.onMessage(bytes)
    }
    const onLost = (error: unknown) =>
      fail(error instanceof Fault ? error : toFault({ code: codes.unavailable, message: describe(error) }, error))

    const begin = async (isAgain = false) => {
      const connection = await session.ready()
      if (isOver) return
      const onEnd: Exchange['onEnd'] = end => {
        if ('thrown' in end) return fail(end.thrown)
        // A server that refuses a stream, as one that is about to end does, has not looked at it: once more is not twice.
        if (end.status === refused && !isAgain && !isOver) return void begin(true).catch(onLost)
        if (end.status.code === codes.ok) finish(resolve)
        else fail(toFault(end.status))
      }
      stream = send(connection, { headers: toHeaders(call), frame, onMessage, onEnd })
    }
    begin().catch(onLost)
  })
