// Connections that become streams: past the gate, then joined with the runtime's streaming server (server/tunnel.ts), or refused
// in HTTP's words. Owns the client's socket until it is joined or closed.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../host/clock.ts'
import { describe, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { tunnel, type Upgrade } from '../server/tunnel.ts'
import { type Answer, type Ask, type Handler, refuse } from './answer.ts'
import { refuseUpgrade, settle, toAsk } from './http.ts'
import { type OnRequest, requestLabels } from './request-labels.ts'
import { planStream, type StreamDeps } from './streams.ts'

export interface UpgradeDeps extends StreamDeps {
  /** Puts the gate before what answers a request. */
  readonly guard: (request: IncomingMessage, next: Handler) => Handler
  /** Absent: there are no streams, and this answers in their place. */
  readonly instead?: Handler
  /** Ends streams in which nothing has been sent for so long. */
  readonly idleMs: number
  readonly onRequest?: OnRequest | undefined
  readonly clock: Clock
  readonly log: Log
}

/** Not sent: the connection belongs to the tunnel. */
const joined: Answer = refuse(101, '')

const joinStream = async (ask: Ask, client: Upgrade, { clock, idleMs, log, ...deps }: UpgradeDeps): Promise<Answer> => {
  const plan = await planStream(ask, deps)
  if ('refusal' in plan) return plan.refusal
  try {
    await tunnel(plan.url, client, { clock, idleMs })
    return joined
  } catch (error) {
    if (!isFault(error, 'runtime-away')) throw error
    log.warn({ err: error, path: ask.path }, describe(error))
    return refuse(502, describe(error))
  }
}

/** Takes over the connections that a server has been asked to upgrade. */
export const createUpgrade =
  (deps: UpgradeDeps) =>
  async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const away = new AbortController()
    const ask = toAsk(request, away.signal)
    const ended = deps.onRequest?.(requestLabels(request.method ?? '', ask?.segments ?? [], 'readwrite'))
    socket.on('error', () => undefined)
    socket.on('close', () => {
      away.abort()
      ended?.()
    })
    const handler = deps.instead ?? (it => joinStream(it, { request, socket, head }, deps))
    const answer = await settle(deps.guard(request, handler), ask, deps.log)
    if (answer !== joined && !socket.destroyed) refuseUpgrade(socket, answer, deps.clock)
  }
