// Names that are not the cluster's: asked of the node's name servers, kept for a short while. Decides whom to ask, how long, and
// what may be kept. Equal questions that are on their way are one: this also ends a loop, should a server of the node ask us back.
import type { Clock, Millis } from '../../../host/clock.ts'
import { describe } from '../../../host/fault.ts'
import type { Log } from '../../../host/log.ts'
import { bareReply } from './answer.ts'
import type { NameServer } from './resolv-conf.ts'
import type { Exchange, UpstreamQuestion } from './upstream.ts'
import { aged, lifeOf, rcodeOf, withoutOpt, writeReply } from './wire.ts'

export interface Forwarder {
  /** The answer without OPT; SERVFAIL when nobody gives one. Never rejects. */
  lookup(asked: UpstreamQuestion): Promise<Buffer>
}

export interface ForwarderDeps {
  readonly clock: Pick<Clock, 'monotonic'>
  readonly log: Log
  readonly exchange: Exchange
  readonly servers: () => Promise<readonly NameServer[]>
  /** Answers kept at most; default 1000. */
  readonly maxKept?: number
  /** Different questions under way at most; default 256. */
  readonly maxUnderWay?: number
}

const attemptMs = 2_000
/** Clients ask again or give up after 5 seconds (resolver(5)): an answer that is later helps nobody. */
const deadlineMs = 5_000
const rounds = 2
/** As CoreDNS is set up by kubeadm. */
const longestLifeSeconds = 30
/** A server that has failed is asked last for so long. */
const distrustMs = 10_000
const servfail = 2
const refused = 5

interface Kept {
  readonly message: Buffer
  readonly at: Millis
  readonly lifeSeconds: number
}

/** Answers by question, the oldest out first. */
const createCache = (clock: Pick<Clock, 'monotonic'>, most: number) => {
  const kept = new Map<string, Kept>()
  return {
    get: (key: string): Buffer | undefined => {
      const entry = kept.get(key)
      if (entry === undefined) return undefined
      const age = Math.floor((clock.monotonic() - entry.at) / 1_000)
      if (age < entry.lifeSeconds) return aged(entry.message, age)
      kept.delete(key)
      return undefined
    },
    put: (key: string, message: Buffer) => {
      const lifeSeconds = Math.min(lifeOf(message), longestLifeSeconds)
      if (lifeSeconds === 0) return
      kept.delete(key)
      kept.set(key, { message, at: clock.monotonic(), lifeSeconds })
      const [oldest] = kept.keys()
      if (kept.size > most && oldest !== undefined) kept.delete(oldest)
    },
  }
}

const keyOf = ({ question, dnssecOk, checkingDisabled }: UpstreamQuestion): string =>
  `${question.bytes.toString('latin1').toLowerCase()} ${dnssecOk} ${checkingDisabled}`

export const createForwarder = (deps: ForwarderDeps): Forwarder => {
  const { clock, log, exchange } = deps
  const cache = createCache(clock, deps.maxKept ?? 1_000)
  const underWay = new Map<string, Promise<Buffer>>()
  const failedAt = new Map<string, Millis>()

  const isTrusted = ({ address }: NameServer) => clock.monotonic() - (failedAt.get(address) ?? -distrustMs) >= distrustMs
  const inOrder = (servers: readonly NameServer[]) => [
    ...servers.filter(isTrusted),
    ...servers.filter(server => !isTrusted(server)),
  ]
  /** One attempt; undefined when this server has none. */
  const attempt = async (server: NameServer, asked: UpstreamQuestion, timeoutMs: number): Promise<Buffer | undefined> => {
    try {
      const message = withoutOpt(await exchange(server, asked, timeoutMs))
      if (rcodeOf(message) !== servfail && rcodeOf(message) !== refused) {
        failedAt.delete(server.address)
        return message
      }
      log.debug({ server: server.address, name: asked.question.name, rcode: rcodeOf(message) }, 'a name server refused')
    } catch (error) {
      failedAt.set(server.address, clock.monotonic())
      log.debug({ server: server.address, name: asked.question.name, reason: describe(error) }, 'a name server did not answer')
    }
    return undefined
  }
  const ask = async (asked: UpstreamQuestion): Promise<Buffer | undefined> => {
    const started = clock.monotonic()
    const servers = inOrder(await deps.servers())
    for (let round = 0; round < rounds; round++)
      for (const server of servers) {
        const left = started + deadlineMs - clock.monotonic()
        if (left <= 0) return undefined
        const message = await attempt(server, asked, Math.min(attemptMs, left))
        if (message !== undefined) return message
      }
    return undefined
  }
  const failure = ({ question }: UpstreamQuestion) => writeReply(question, bareReply('SERVFAIL'))
  return {
    lookup: async asked => {
      const key = keyOf(asked)
      const known = cache.get(key)
      if (known !== undefined) return known
      const same = underWay.get(key)
      if (same !== undefined) return await same
      if (underWay.size >= (deps.maxUnderWay ?? 256)) return failure(asked)
      const answer = ask(asked).then(message => {
        if (message !== undefined) cache.put(key, message)
        return message ?? failure(asked)
      })
      underWay.set(key, answer)
      try {
        return await answer
      } finally {
        underWay.delete(key)
      }
    },
  }
}
