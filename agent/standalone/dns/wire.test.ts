import { type Answer, decode, encode, type Packet, RECURSION_DESIRED } from 'dns-packet'
import t from 'tap'
import type { Reply } from './answer.ts'
import { addressReply, aged, lifeOf, type Query, questionFor, readQuery, withoutOpt, writeReply } from './wire.ts'

const name = 'Web.default.svc.cluster.local'
const packet = (more: Packet = {}): Buffer =>
  encode({ type: 'query', id: 4711, flags: RECURSION_DESIRED, questions: [{ name, type: 'A' }], ...more })
const opt = (udpPayloadSize: number, ednsVersion = 0): Answer => ({
  type: 'OPT',
  name: '.',
  udpPayloadSize,
  extendedRcode: 0,
  ednsVersion,
  flags: 0,
  flag_do: false,
  options: [],
})
const queryOf = (message: Buffer): Query => {
  const read = readQuery(message)
  if (read === undefined || !('query' in read)) throw new Error('no query')
  return read.query
}
const reply = (count: number): Reply => ({
  rcode: 'NOERROR',
  authoritative: true,
  answers: Array.from({ length: count }, (_, index) => ({ type: 'A', name, ttl: 5, data: `10.0.${index >> 8}.${index & 255}` })),
  authorities: [],
  additionals: [],
})

t.test('a query is read with the spelling of its name', async t =>
  t.match(queryOf(packet({ additionals: [opt(4_096)] })), {
    id: 4711,
    recursionDesired: true,
    question: { name, type: 'A', class: 'IN' },
    edns: { limit: 1_232 },
  }),
)

const edited = (edit: (message: Buffer) => void): Buffer => {
  const message = packet()
  edit(message)
  return message
}
for (const [why, message] of [
  ['an empty one', Buffer.alloc(0)],
  ['one of eleven bytes', Buffer.alloc(11)],
  ['a response', edited(message => message.writeUInt16BE(0x8000, 2))],
  ['one that is cut off', packet().subarray(0, 20)],
  ['one that promises records that it has not', edited(message => message.writeUInt16BE(0xffff, 6))],
  ['one whose name points at itself', edited(message => message.writeUInt16BE(0xc00c, 12))],
] as const)
  t.test(`${why} gets no answer`, async t => t.equal(readQuery(message), undefined))

for (const [why, message, expected] of [
  ['another operation is not implemented', edited(it => it.writeUInt16BE(0x2000, 2)), { rcode: 'NOTIMP' }],
  [
    'two questions are one too many',
    packet({
      questions: [
        { name, type: 'A' },
        { name, type: 'AAAA' },
      ],
    }),
    { rcode: 'FORMERR' },
  ],
  ['no question is none', packet({ questions: [] }), { rcode: 'FORMERR' }],
  ['a dot inside a label is not a dot between labels', edited(it => it.write('.', 14)), { rcode: 'FORMERR' }],
  [
    'an unknown version of EDNS is named',
    packet({ additionals: [opt(1_232, 1)] }),
    { additionals: [{ type: 'OPT', extendedRcode: 1 }] },
  ],
] as const)
  t.test(why, async t => {
    const read = readQuery(message)
    t.ok(read !== undefined && 'refuse' in read)
    if (read !== undefined && 'refuse' in read) t.match(decode(read.refuse), { type: 'response', ...expected })
  })

t.test('a reply has the id, the spelling and the wishes of its query', async t => {
  const query = queryOf(packet())
  const message = addressReply(writeReply(query.question, reply(2)), query, 'udp')
  t.match(decode(message), {
    id: 4711,
    flag_qr: true,
    flag_aa: true,
    flag_ra: true,
    flag_rd: true,
    flag_tc: false,
    questions: [{ name, type: 'A' }],
    answers: [
      { name, data: '10.0.0.0', ttl: 5 },
      { name, data: '10.0.0.1', ttl: 5 },
    ],
  })
  t.equal(decode(message).additionals?.length, 0, 'no EDNS for one who speaks none')
})

for (const [why, message, transport, answers, limit, truncated] of [
  ['29 addresses fit into 512 bytes', packet(), 'udp', 29, 512, true],
  ['what the client advertises is used', packet({ additionals: [opt(800)] }), 'udp', 46, 800, true],
  ['no more than 1232 bytes, whatever it advertises', packet({ additionals: [opt(65_535)] }), 'udp', 73, 1_232, true],
  ['no less than 512 bytes', packet({ additionals: [opt(100)] }), 'udp', 28, 512, true],
  ['everything over TCP', packet(), 'tcp', 100, 65_535, false],
] as const)
  t.test(`a long answer: ${why}`, async t => {
    const query = queryOf(message)
    const sent = addressReply(writeReply(query.question, reply(100)), query, transport)
    const got = decode(sent)
    t.ok(sent.length <= limit, `${sent.length} bytes`)
    t.match([got.answers?.length, got.flag_tc], [answers, truncated])
    t.equal(got.additionals?.length, query.edns === undefined ? 0 : 1)
  })

t.test('additional records that do not fit are no truncation', async t => {
  const query = queryOf(packet())
  const { answers } = reply(40)
  const got = decode(addressReply(writeReply(query.question, { ...reply(1), additionals: answers }), query, 'udp'))
  t.match([got.answers?.length, got.flag_tc], [1, false])
})

const message = (more: Packet): Buffer => encode({ type: 'response', questions: [{ name, type: 'A' }], ...more })
const a = (ttl: number): Answer => ({ type: 'A', name, ttl, data: '1.2.3.4' })
const soa = (ttl: number, minimum: number): Answer => ({ type: 'SOA', name: 'x', ttl, data: { mname: 'm', rname: 'r', minimum } })
for (const [why, given, expected] of [
  ['the shortest life of the answers', { answers: [a(60), a(20)] }, 20],
  ['NXDOMAIN: the lesser of the SOA’s life and minimum', { flags: 3, authorities: [soa(60, 10)] }, 10],
  ['NODATA likewise', { authorities: [soa(7, 10)] }, 7],
  ['NXDOMAIN without SOA is not kept', { flags: 3 }, 0],
  ['SERVFAIL is not kept', { flags: 2, answers: [a(60)] }, 0],
  ['what is truncated is not kept', { flags: 0x0200, answers: [a(60)] }, 0],
] as const)
  t.test(`how long an answer is kept: ${why}`, async t => t.equal(lifeOf(message(given as unknown as Packet)), expected))

t.test('an answer gets older, never younger than nothing', async t => {
  const older = decode(aged(message({ answers: [a(60), a(5)] }), 10))
  t.match(older.answers, [{ ttl: 50 }, { ttl: 0 }])
})

t.test('EDNS of a neighbour is taken out', async t => {
  const plain = decode(withoutOpt(message({ answers: [a(60)], additionals: [a(1), opt(1_232)] })))
  t.match([plain.answers?.length, plain.additionals?.length], [1, 1])
})

t.test('a question that nobody wrote', async t => t.match(questionFor('db.example.com', 'AAAA'), { bytes: { length: 20 } }))
