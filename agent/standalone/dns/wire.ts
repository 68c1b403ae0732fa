// DNS messages as bytes: reading questions, writing our answers (records by dns-packet), and cutting, aging and re-addressing
// messages whose records we do not understand and need not. Pure functions over buffers; RFC 1035, 2308, 6891.
// Every message inside the program is without OPT and id: EDNS is a matter between two neighbours, not part of an answer.
import { type Answer, decode, encode } from 'dns-packet'
import type { Rcode, Reply } from './answer.ts'

const flagResponse = 0x8000
const flagAuthoritative = 0x0400
const flagTruncated = 0x0200
const flagRecursionDesired = 0x0100
const flagRecursionAvailable = 0x0080
const flagCheckingDisabled = 0x0010
const typeSoa = 6
const typeOpt = 41
const headerBytes = 12
const optBytes = 11
const smallestRecord = 11
const rcodes: Readonly<Record<Rcode, number>> = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 }

/** What a message without EDNS may take over UDP. */
export const plainLimit = 512
/** What we take and send at most over UDP: above it fragments get lost (DNS flag day 2020). */
export const ednsLimit = 1_232

export interface Question {
  readonly name: string
  readonly type: string
  readonly class: string
  /** As it stands in the message: name, type, class. Letters keep their case. */
  readonly bytes: Buffer
}

export interface Query {
  readonly id: number
  readonly recursionDesired: boolean
  readonly checkingDisabled: boolean
  readonly question: Question
  readonly edns: { readonly limit: number; readonly dnssecOk: boolean } | undefined
}

/** Where one record stands in a message. */
interface RecordSpan {
  readonly section: 0 | 1 | 2
  readonly start: number
  readonly afterName: number
  readonly type: number
  readonly end: number
}

const afterName = (message: Buffer, start: number): number => {
  let offset = start
  for (;;) {
    const length = message.readUInt8(offset)
    if (length === 0) return offset + 1
    if (length >= 0xc0) return offset + 2
    if (length > 63) throw new RangeError('a label of an unknown kind')
    offset += length + 1
  }
}

/** @throws RangeError when the message ends too early */
const questionEnd = (message: Buffer): number => {
  const end = message.readUInt16BE(4) === 0 ? headerBytes : afterName(message, headerBytes) + 4
  if (end > message.length) throw new RangeError('the message ends in its question')
  return end
}

/** @throws RangeError when the message ends too early */
const recordsOf = (message: Buffer): readonly RecordSpan[] => {
  const spans: RecordSpan[] = []
  let offset = questionEnd(message)
  for (const section of [0, 1, 2] as const) {
    for (let left = message.readUInt16BE(6 + 2 * section); left > 0; left--) {
      const nameEnd = afterName(message, offset)
      const end = nameEnd + 10 + message.readUInt16BE(nameEnd + 8)
      if (end > message.length) throw new RangeError('the message ends in a record')
      spans.push({ section, start: offset, afterName: nameEnd, type: message.readUInt16BE(nameEnd), end })
      offset = end
    }
  }
  return spans
}

const countsFit = (message: Buffer): boolean => {
  const records = message.readUInt16BE(6) + message.readUInt16BE(8) + message.readUInt16BE(10)
  return message.readUInt16BE(4) * 5 + records * smallestRecord <= message.length - headerBytes
}

const headerReply = (message: Buffer, rcode: Rcode): Buffer => {
  const header = Buffer.alloc(headerBytes)
  header.writeUInt16BE(message.readUInt16BE(0), 0)
  header.writeUInt16BE(flagResponse | (message.readUInt16BE(2) & 0x7900) | rcodes[rcode], 2)
  return header
}

export type Read = { readonly query: Query } | { readonly refuse: Buffer }

/**
 * Reads a message that a client has sent.
 * @returns the query, or the message that refuses it; undefined when it is none and gets no answer
 */
export const readQuery = (message: Buffer): Read | undefined => {
  if (message.length < headerBytes || message.readUInt16BE(2) & flagResponse || !countsFit(message)) return undefined
  const flags = message.readUInt16BE(2)
  if ((flags & 0x7800) !== 0) return { refuse: headerReply(message, 'NOTIMP') }
  try {
    const packet = decode(message)
    const [asked, ...more] = packet.questions ?? []
    const bytes = Buffer.from(message.subarray(headerBytes, questionEnd(message)))
    // A dot inside a label is lost by the text of the name: what cannot be told apart is not answered.
    const labels = asked?.name === '.' ? 0 : (asked?.name.split('.').length ?? 0)
    if (asked === undefined || more.length > 0 || labelsIn(bytes) !== labels) return { refuse: headerReply(message, 'FORMERR') }
    const opt = packet.additionals?.find(record => record.type === 'OPT')
    const question = { name: asked.name, type: asked.type, class: asked.class ?? 'IN', bytes }
    const edns = opt && { limit: Math.min(Math.max(opt.udpPayloadSize, plainLimit), ednsLimit), dnssecOk: opt.flag_do }
    const query: Query = {
      id: message.readUInt16BE(0),
      recursionDesired: (flags & flagRecursionDesired) !== 0,
      checkingDisabled: (flags & flagCheckingDisabled) !== 0,
      question,
      edns,
    }
    return opt !== undefined && opt.ednsVersion > 0 ? { refuse: badVersion(query) } : { query }
  } catch {
    return undefined
  }
}

const labelsIn = (question: Buffer): number => {
  let labels = 0
  for (let offset = 0; question.readUInt8(offset) !== 0; offset += question.readUInt8(offset) + 1) labels++
  return labels
}

const optRecord = (dnssecOk: boolean, extendedRcode = 0): Buffer => {
  const record = Buffer.alloc(optBytes)
  record.writeUInt16BE(typeOpt, 1)
  record.writeUInt16BE(ednsLimit, 3)
  record.writeUInt8(extendedRcode, 5)
  record.writeUInt16BE(dnssecOk ? 0x8000 : 0, 7)
  return record
}

const withOpt = (message: Buffer, opt: Buffer): Buffer => {
  const whole = Buffer.concat([message, opt])
  whole.writeUInt16BE(message.readUInt16BE(10) + 1, 10)
  return whole
}

const headerFor = (question: Question, flags: number, counts: readonly [number, number, number] = [0, 0, 0]): Buffer => {
  const header = Buffer.alloc(headerBytes)
  header.writeUInt16BE(flags, 2)
  header.writeUInt16BE(1, 4)
  for (const [index, count] of counts.entries()) header.writeUInt16BE(count, 6 + 2 * index)
  return Buffer.concat([header, question.bytes])
}

// RFC 6891: an EDNS version that is not known is answered by extended code 16, whose upper bits stand in the OPT.
const badVersion = (query: Query): Buffer => {
  const message = withOpt(headerFor(query.question, flagResponse), optRecord(false, 1))
  message.writeUInt16BE(query.id, 0)
  return message
}

/** A query to another name server: a fresh id, our own EDNS, nothing of the client's but its question and DNSSEC wishes. */
export const writeQuery = (id: number, question: Question, dnssecOk: boolean, checkingDisabled: boolean): Buffer => {
  const flags = flagRecursionDesired | (checkingDisabled ? flagCheckingDisabled : 0)
  const message = withOpt(headerFor(question, flags), optRecord(dnssecOk))
  message.writeUInt16BE(id, 0)
  return message
}

/** The question for a name that no client has written. */
export const questionFor = (name: string, type: string): Question => {
  const message = encode({ type: 'query', questions: [{ name, type: type as 'A', class: 'IN' }] })
  return { name, type, class: 'IN', bytes: message.subarray(headerBytes) }
}

/**
 * A reply of our own as a message. Names of records that equal the question's become pointers to it: dns-packet writes names
 * out, and 512 bytes would hold 10 addresses of a headless Service instead of 29.
 */
export const writeReply = (question: Question, reply: Reply): Buffer => {
  const flags = flagResponse | flagRecursionAvailable | (reply.authoritative ? flagAuthoritative : 0) | rcodes[reply.rcode]
  const sections = [reply.answers, reply.authorities, reply.additionals] as const
  const [answers, authorities, additionals] = sections.map(records => [...records]) as [Answer[], Answer[], Answer[]]
  const body = encode({ type: 'response', questions: [], answers, authorities, additionals })
  const owner = question.bytes.subarray(0, -4)
  const pointer = Buffer.from([0xc0, headerBytes])
  const records = recordsOf(body).flatMap(({ start, afterName: nameEnd, end }) => {
    const name = body.subarray(start, nameEnd)
    return [name.equals(owner) ? pointer : name, body.subarray(nameEnd, end)]
  })
  return Buffer.concat([headerFor(question, flags, [answers.length, authorities.length, additionals.length]), ...records])
}

const cutBefore = (message: Buffer, records: readonly RecordSpan[], kept: number): Buffer => {
  const cut = Buffer.from(message.subarray(0, records[kept]?.start ?? message.length))
  for (const section of [0, 1, 2] as const)
    cut.writeUInt16BE(records.slice(0, kept).filter(record => record.section === section).length, 6 + 2 * section)
  return cut
}

/** As many whole records as fit; marked as truncated when more than additional ones had to go. */
const fit = (message: Buffer, limit: number): Buffer => {
  if (message.length <= limit) return Buffer.from(message)
  const records = recordsOf(message)
  const over = records.findIndex(record => record.end > limit)
  const cut = cutBefore(message, records, over)
  if (records[over]?.section !== 2) cut.writeUInt16BE(cut.readUInt16BE(2) | flagTruncated, 2)
  return cut
}

/** The message as this client gets it: its id, its spelling of the question, its EDNS, no more than it takes. */
export const addressReply = (message: Buffer, query: Query, transport: 'udp' | 'tcp'): Buffer => {
  const most = transport === 'tcp' ? 0xffff : (query.edns?.limit ?? plainLimit)
  const cut = fit(message, query.edns === undefined ? most : most - optBytes)
  const whole = query.edns === undefined ? cut : withOpt(cut, optRecord(query.edns.dnssecOk))
  whole.writeUInt16BE(query.id, 0)
  query.question.bytes.copy(whole, headerBytes)
  const asked = query.recursionDesired ? flagRecursionDesired : 0
  whole.writeUInt16BE((whole.readUInt16BE(2) & ~flagRecursionDesired) | asked, 2)
  return whole
}

/** True when the message is the answer to this question asked with this id; letters may differ in case. */
export const isReplyTo = (message: Buffer, id: number, question: Question): boolean => {
  if (message.length < headerBytes + question.bytes.length) return false
  if (message.readUInt16BE(0) !== id || !(message.readUInt16BE(2) & flagResponse) || message.readUInt16BE(4) !== 1) return false
  const asked = message.subarray(headerBytes, headerBytes + question.bytes.length)
  return asked.toString('latin1').toLowerCase() === question.bytes.toString('latin1').toLowerCase()
}

export const isTruncated = (message: Buffer): boolean => (message.readUInt16BE(2) & flagTruncated) !== 0

export const rcodeOf = (message: Buffer): number => message.readUInt16BE(2) & 0x000f

/**
 * The message without its OPT (and what other additional records stand behind it, which nobody may rely on).
 * @throws RangeError when the message ends too early
 */
export const withoutOpt = (message: Buffer): Buffer => {
  const records = recordsOf(message)
  const opt = records.findIndex(({ section, type }) => section === 2 && type === typeOpt)
  return cutBefore(message, records, opt < 0 ? records.length : opt)
}

/**
 * Seconds that a message may be kept: the shortest life of its answers, or what the SOA says of names that are not there.
 * 0 when it says nothing, as other codes than NOERROR and NXDOMAIN do.
 */
export const lifeOf = (message: Buffer): number => {
  const code = rcodeOf(message)
  if ((code !== rcodes.NOERROR && code !== rcodes.NXDOMAIN) || isTruncated(message)) return 0
  const records = recordsOf(message)
  const ttlOf = (record: RecordSpan) => message.readUInt32BE(record.afterName + 4)
  const answers = records.filter(({ section }) => section === 0)
  const soa = records.find(({ section, type }) => section === 1 && type === typeSoa)
  const negative = soa === undefined ? [] : [ttlOf(soa), message.readUInt32BE(soa.end - 4)]
  const lives = code === rcodes.NOERROR && answers.length > 0 ? answers.map(ttlOf) : negative
  return lives.length === 0 ? 0 : Math.min(...lives)
}

/** The message with every record's life shorter by so many seconds. */
export const aged = (message: Buffer, seconds: number): Buffer => {
  const older = Buffer.from(message)
  for (const { afterName: at } of recordsOf(message))
    older.writeUInt32BE(Math.max(0, message.readUInt32BE(at + 4) - seconds), at + 4)
  return older
}

/** The records and the code of a message, as far as they can be read. */
export const readReply = (message: Buffer): { readonly rcode: number; readonly answers: readonly Answer[] } => ({
  rcode: rcodeOf(message),
  answers: decode(message).answers ?? [],
})
