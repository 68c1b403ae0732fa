// The responder over real sockets on 127.0.0.1, with a name server of the world played by a second one.
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createConnection } from 'node:net'
import { type Answer, type DecodedPacket, decode, encode, type Packet, RECURSION_DESIRED, streamEncode } from 'dns-packet'
import t from 'tap'
import type { EndpointSlice, Service } from '../../../api/service-types.ts'
import { createStore } from '../../../api/source.ts'
import type { Pod } from '../../../api/types.ts'
import { systemClock } from '../../../host/clock.ts'
import { silentLog } from '../../../host/log.ts'
import { createForwarder } from './forward.ts'
import type { NameServer } from './resolv-conf.ts'
import { createResolve, type Resolve } from './resolve.ts'
import { startDnsServer } from './server.ts'
import { createExchange } from './upstream.ts'
import { questionFor } from './wire.ts'
import { createZone } from './zone.ts'

const address = '127.0.0.1'
const clock = systemClock
const log = silentLog
const start = (resolve: Resolve, port = 0) => startDnsServer({ address, port, resolve, clock, log })

/** A name server that knows `small.example` and `large.example`, whose answer fits only over TCP, and never answers `slow.example`. */
const world: Resolve = async (message, transport) => {
  const { id = 0, questions = [] } = decode(message)
  const { name = '', type = 'A' } = questions[0] ?? {}
  if (name === 'slow.example') return undefined
  const count = name === 'large.example' ? 100 : name === 'small.example' && type === 'A' ? 1 : 0
  const answers: Answer[] = Array.from({ length: count }, (_, index) => ({ type: 'A', name, ttl: 60, data: `192.0.2.${index}` }))
  const truncated = transport === 'udp' && count > 1
  const flags = (count === 0 ? 3 : 0) | (truncated ? 0x0200 : 0)
  return encode({ type: 'response', id, flags, questions, answers: truncated ? [] : answers })
}

const overUdp = async (port: number, message: Buffer): Promise<DecodedPacket> => {
  const socket = createSocket('udp4')
  try {
    socket.send(message, port, address)
    const [reply] = (await once(socket, 'message', { signal: AbortSignal.timeout(5_000) })) as [Buffer]
    return decode(reply)
  } finally {
    socket.close()
  }
}

/** Sends these bytes over one connection and gives the messages that come back before the other side closes. */
const overTcp = async (port: number, ...chunks: readonly Buffer[]): Promise<readonly DecodedPacket[]> => {
  const socket = createConnection({ port, host: address, allowHalfOpen: true })
  for (const chunk of chunks) {
    socket.write(chunk)
    await new Promise(setImmediate)
  }
  socket.end()
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part as Buffer)
  const replies: DecodedPacket[] = []
  for (let left = Buffer.concat(parts); left.length > 0; left = left.subarray(2 + left.readUInt16BE(0)))
    replies.push(decode(left.subarray(2, 2 + left.readUInt16BE(0))))
  return replies
}

const query = (name: string, type: 'A' | 'AAAA' = 'A', more: Packet = {}): Packet => ({
  type: 'query',
  id: 99,
  flags: RECURSION_DESIRED,
  questions: [{ name, type }],
  ...more,
})

const services = createStore<Service>()
const endpointSlices = createStore<EndpointSlice>()
const pods = createStore<Pod>()
for (const [name, spec] of [
  ['web', { clusterIP: '10.96.1.1' }],
  ['many', { clusterIP: 'None' }],
  ['ext', { type: 'ExternalName', externalName: 'small.example' }],
  ['gone', { type: 'ExternalName', externalName: 'gone.example' }],
  ['near', { type: 'ExternalName', externalName: 'web.default.svc.cluster.local' }],
  ['loop', { type: 'ExternalName', externalName: 'loop.default.svc.cluster.local' }],
] as const)
  services.put({ metadata: { name, namespace: 'default' }, spec })
endpointSlices.put({
  metadata: { name: 'many', namespace: 'default', labels: { 'kubernetes.io/service-name': 'many' } },
  addressType: 'IPv4',
  endpoints: Array.from({ length: 100 }, (_, index) => ({ addresses: [`10.1.0.${index}`] })),
  ports: [],
})
for (const store of [services, endpointSlices, pods]) store.markSynced()

const upstream = await start(world)
const nameServer: NameServer = { address, port: upstream.port }
const { zone } = createZone({ services, endpointSlices, pods })
const resolve = createResolve({
  zone,
  config: { domain: 'cluster.local', addresses: ['10.96.0.10'], ranges: [] },
  forwarder: createForwarder({ clock, log, exchange: createExchange(clock), servers: async () => [nameServer] }),
})
const dns = await start(resolve)
t.teardown(async () => {
  await dns.stop()
  await upstream.stop()
})

const data = (packet: DecodedPacket) => packet.answers?.map(answer => ('data' in answer ? String(answer.data) : ''))
const fqdn = (name: string) => `${name}.default.svc.cluster.local`

t.test('a Service is answered over UDP', async t => {
  const reply = await overUdp(dns.port, encode(query(fqdn('web'))))
  t.match(reply, { id: 99, rcode: 'NOERROR', flag_aa: true })
  t.same(data(reply), ['10.96.1.1'])
})

t.test('several questions over one connection, cut anywhere', async t => {
  const both = Buffer.concat([streamEncode(query(fqdn('web'))), streamEncode(query(fqdn('nope')))])
  const replies = await overTcp(dns.port, both.subarray(0, 1), both.subarray(1, 60), both.subarray(60))
  t.match(replies, [{ rcode: 'NOERROR' }, { rcode: 'NXDOMAIN' }])
})

t.test('an answer that does not fit is marked, and whole over TCP', async t => {
  const cut = await overUdp(dns.port, encode(query(fqdn('many'))))
  t.equal(cut.flag_tc, true)
  t.ok((cut.answers?.length ?? 0) > 20)
  const [whole] = await overTcp(dns.port, streamEncode(query(fqdn('many'))))
  t.match([whole?.flag_tc, whole?.answers?.length], [false, 100])
})

t.test('addresses of a headless Service come in another order each time', async t => {
  const first = new Set<string | undefined>()
  for (let index = 0; index < 5; index++) first.add(data(await overUdp(dns.port, encode(query(fqdn('many')))))?.[0])
  t.equal(first.size, 5)
})

t.test('a name of the world is asked of the node’s name server', async t => {
  const reply = await overUdp(dns.port, encode(query('small.example')))
  t.match(reply, { id: 99, rcode: 'NOERROR', flag_aa: false })
  t.same(data(reply), ['192.0.2.0'])
  t.match(await overUdp(dns.port, encode(query('other.example'))), { rcode: 'NXDOMAIN' })
})

t.test('what is too long for the name server’s UDP is fetched over TCP', async t => {
  const [whole] = await overTcp(dns.port, streamEncode(query('large.example')))
  t.equal(whole?.answers?.length, 100)
  t.match(await overUdp(dns.port, encode(query('large.example'))), { flag_tc: true })
})

t.test('an external name comes with the addresses behind it', async t => {
  t.same(data(await overUdp(dns.port, encode(query(fqdn('ext'))))), ['small.example', '192.0.2.0'])
  t.same(data(await overUdp(dns.port, encode(query(fqdn('near'))))), [fqdn('web'), '10.96.1.1'])
  t.match(await overUdp(dns.port, encode(query(fqdn('gone')))), { rcode: 'NXDOMAIN' })
  t.match(await overUdp(dns.port, encode(query(fqdn('loop')))), { rcode: 'SERVFAIL' }, 'one that leads to itself ends')
})

t.test('other classes and zone transfers are refused', async t => {
  const chaos = query('version.bind', 'A', { questions: [{ name: 'version.bind', type: 'TXT', class: 'CH' }] })
  t.match(await overUdp(dns.port, encode(chaos)), { rcode: 'REFUSED' })
  const transfer = query('x', 'A', { questions: [{ name: 'cluster.local', type: 'AXFR' }] })
  t.match(await overTcp(dns.port, streamEncode(transfer)), [{ rcode: 'REFUSED' }])
})

t.test('malformed messages get no answer and do no harm', async t => {
  const socket = createSocket('udp4')
  for (const message of [Buffer.alloc(1), Buffer.alloc(12, 0xff), Buffer.alloc(500, 0xc0), encode(query('a')).subarray(0, 14)])
    socket.send(message, dns.port, address)
  t.same(await overTcp(dns.port, Buffer.from([0, 3, 1, 2, 3])), [], 'the connection is closed')
  t.match(await overUdp(dns.port, encode(query(fqdn('web')))), { rcode: 'NOERROR' })
  socket.close()
})

t.test('a name server that is silent costs its timeout, one that is not there nothing', async t => {
  const exchange = createExchange(clock)
  const lookup = { question: questionFor('slow.example', 'A'), dnssecOk: false, checkingDisabled: false }
  await t.rejects(exchange(nameServer, lookup, 50), { code: 'network', message: /no answer within 50 ms/ })
  const closed = await start(world)
  await closed.stop()
  await t.rejects(exchange({ address, port: closed.port }, lookup, 5_000), { code: 'network', message: /ECONNREFUSED/ })
})

t.test('a port that is taken is a fault that names it', async t =>
  t.rejects(start(resolve, dns.port), { code: 'network', message: `cluster DNS cannot listen on 127.0.0.1 port ${dns.port}` }),
)
