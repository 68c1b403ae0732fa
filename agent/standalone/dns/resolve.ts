// A client's message in, the message for it out: the cluster's names from the zone, all others by the forwarder, aliases followed.
// Knows no sockets. What is no question gets no answer.
import type { Answer } from 'dns-packet'
import { answer, bareReply, type Rcode, type Reply, type ZoneConfig } from './answer.ts'
import type { Forwarder } from './forward.ts'
import { addressReply, type Query, questionFor, readQuery, readReply, writeReply } from './wire.ts'
import type { Zone } from './zone.ts'

export type Transport = 'udp' | 'tcp'
/** @returns undefined when the message gets no answer */
export type Resolve = (message: Buffer, transport: Transport) => Promise<Buffer | undefined>

const maxAliases = 8
const rcodeNames: readonly Rcode[] = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED']

/** Another address first each time: clients take the first one, and a headless Service is balanced by nobody else. */
const rotated = (records: readonly Answer[], turn: number): readonly Answer[] => {
  const isAddress = ({ type }: Answer) => type === 'A' || type === 'AAAA'
  if (records.length < 2 || !records.every(isAddress)) return records
  const start = turn % records.length
  return [...records.slice(start), ...records.slice(0, start)]
}

export const createResolve = (deps: {
  readonly zone: Zone
  readonly config: ZoneConfig
  readonly forwarder: Forwarder
}): Resolve => {
  const { zone, config, forwarder } = deps
  let turn = 0

  /** The records behind an alias, wherever they are, after those that led to it. */
  const follow = async (query: Query, first: Reply, name: string): Promise<Reply> => {
    let answers = first.answers
    let alias: string | undefined = name
    for (let hops = 0; alias !== undefined && hops < maxAliases; hops++) {
      const asking = { name: alias, type: query.question.type }
      const next = answer(asking, zone, config)
      if (next === 'forward') {
        const message = await forwarder.lookup({
          question: questionFor(asking.name, asking.type),
          dnssecOk: false,
          checkingDisabled: query.checkingDisabled,
        })
        const { rcode, answers: found } = readReply(message)
        return { ...first, rcode: rcodeNames[rcode] ?? 'SERVFAIL', answers: [...answers, ...found] }
      }
      answers = [...answers, ...next.answers]
      if (next.alias === undefined) return { ...first, rcode: next.rcode, answers, authorities: next.authorities }
      alias = next.alias
    }
    return { ...first, rcode: 'SERVFAIL', answers }
  }
  const messageFor = async (query: Query): Promise<Buffer> => {
    const { question } = query
    if (question.class !== 'IN' || question.type === 'AXFR' || question.type === 'IXFR')
      return writeReply(question, bareReply('REFUSED'))
    const reply = answer(question, zone, config)
    if (reply === 'forward')
      return await forwarder.lookup({
        question,
        dnssecOk: query.edns?.dnssecOk ?? false,
        checkingDisabled: query.checkingDisabled,
      })
    turn = (turn + 1) % 0xffff
    const whole = reply.alias === undefined ? reply : await follow(query, reply, reply.alias)
    return writeReply(question, { ...whole, answers: rotated(whole.answers, turn) })
  }
  return async (message, transport) => {
    const read = readQuery(message)
    if (read === undefined) return undefined
    if ('refuse' in read) return read.refuse
    return addressReply(await messageFor(read.query), read.query, transport)
  }
}
