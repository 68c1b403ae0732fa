// The HTTP/2 connection to one unix socket: made by the first call, made again when lost, kept while it answers. Knows
// nothing of gRPC but what its servers allow, and nothing of calls but whether any is under way.
// While it cannot be made, calls fail at once with what the socket said last: the caller decides whether to wait.
import http2, { type ClientHttp2Session } from 'node:http2'
import net from 'node:net'
import type { Clock, Millis, Timer } from '../host/clock.ts'
import type { Fault } from '../host/fault.ts'
import { codes, toFault } from './grpc-status.ts'

export interface GrpcSession {
  /**
   * The connection that new calls use.
   * @throws Fault `runtime-away` when there is none
   */
  ready(): Promise<ClientHttp2Session>
  /** A call is under way until the answer is called: for so long the process is kept alive, and a silent server noticed. */
  hold(): () => void
  /** Ends all connections; calls under way fail, and so does every other. */
  close(): void
}

// A runtime that restarts is back within a second or two: upstream's 3 s would be most of the outage.
const firstPauseMs = 100
const longestPauseMs = 1000

// A Go server that is pinged more often than every 5 minutes, or without a call, ends the connection (too_many_pings).
const pingEveryMs = 6 * 60_000
const pingAnswerMs = 20_000

// Bytes that may be on their way to us. With HTTP/2's own 64 KB, each 64 KB of a long list wait for our word that the last were read.
const windowBytes = 1024 * 1024

const connectOptions = {
  settings: { enablePush: false, initialWindowSize: windowBytes },
  // MB. A request of 16 MB counts, and so do the answers of 200 calls; beyond the limit calls fail.
  maxSessionMemory: 1000,
}

/** Drops a connection that does not answer a ping; calls are what it is asked for, so without one it is left alone. */
const keepAlive = (session: ClientHttp2Session, clock: Clock, isBusy: () => boolean) => {
  let timer: Timer
  let isDue = false
  const ping = () => {
    isDue = false
    timer = clock.after(pingAnswerMs, () => session.destroy(new Error(`no answer to a ping within ${pingAnswerMs / 1000} s`)))
    session.ping(error => {
      timer.cancel()
      if (!error) wait()
    })
  }
  const wait = () => {
    timer = clock.after(pingEveryMs, () => {
      isDue = true
      if (isBusy()) ping()
    })
  }
  wait()
  session.once('close', () => timer.cancel())
  return { onBusy: () => isDue && !session.destroyed && ping() }
}

const isUsable = (session: ClientHttp2Session | undefined): session is ClientHttp2Session =>
  session !== undefined && !session.closed && !session.destroyed

/** Resolves when the server has said its first word, which is when it takes calls; no error of the connection escapes. */
const connect = (path: string, onMade: (session: ClientHttp2Session) => void): Promise<ClientHttp2Session> =>
  new Promise((resolve, reject) => {
    const createConnection = () => net.connect(path).on('error', () => undefined)
    const session = http2.connect('http://localhost', { ...connectOptions, createConnection })
    let failure = new Error('the connection was closed before it was answered')
    session.on('error', error => {
      failure = error
    })
    session.once('close', () => reject(failure))
    session.once('remoteSettings', () => {
      // What follows throws on a connection that was closed meanwhile, and nobody could catch it here.
      if (!isUsable(session)) return
      session.setLocalWindowSize(windowBytes)
      resolve(session)
    })
    onMade(session)
  })

/** The connection to `path`; nothing happens before the first call. */
export const createGrpcSession = (path: string, clock: Clock): GrpcSession => {
  // Beside the one for new calls there may be others, which a server that ends has told to finish what is under way.
  const live = new Map<ClientHttp2Session, ReturnType<typeof keepAlive>>()
  let current: ClientHttp2Session | undefined
  let connecting: Promise<ClientHttp2Session> | undefined
  let holds = 0
  let pauseMs = firstPauseMs
  let refusal: { readonly until: Millis; readonly fault: () => Fault } | undefined
  let isClosed = false

  const onMade = (session: ClientHttp2Session) => {
    live.set(
      session,
      keepAlive(session, clock, () => holds > 0),
    )
    session.once('close', () => live.delete(session))
  }

  const open = async () => {
    try {
      current = await connect(path, onMade)
      pauseMs = firstPauseMs
      refusal = undefined
      return current
    } catch (cause) {
      const message = `no connection to the container runtime: ${(cause as Error).message}`
      const fault = () => toFault({ code: codes.unavailable, message }, cause)
      refusal = { until: clock.monotonic() + pauseMs, fault }
      pauseMs = Math.min(pauseMs * 2, longestPauseMs)
      throw fault()
    } finally {
      connecting = undefined
    }
  }

  const ready = async () => {
    if (isClosed) throw toFault({ code: codes.unavailable, message: 'the connection to the container runtime was closed' })
    if (isUsable(current)) return current
    if (refusal !== undefined && clock.monotonic() < refusal.until) throw refusal.fault()
    connecting ??= open()
    return connecting
  }

  const hold = () => {
    holds += 1
    if (holds === 1) {
      for (const [session, pings] of live) {
        session.ref()
        pings.onBusy()
      }
    }
    return () => {
      holds -= 1
      if (holds === 0) for (const session of live.keys()) session.unref()
    }
  }

  const close = () => {
    isClosed = true
    for (const session of live.keys()) session.destroy()
  }
  return { ready, hold, close }
}
