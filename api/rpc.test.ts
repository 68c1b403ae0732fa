// Calls on the wire against a real HTTP/2 server, which endpoints are accepted, and that the compiled schemas are those of the
// .proto files. The connection itself is in grpc-session.test.ts; containerd as the server in test/cri/cri.itest.ts.
import { readFile } from 'node:fs/promises'
import { constants, type ServerHttp2Stream, type Settings } from 'node:http2'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import { compileProto, protos } from './compile-protos.ts'
import {
  type Answer,
  answer,
  createGrpcServer,
  createSocketPath,
  echo,
  echoSchema,
  frameOf,
  type Text,
} from './grpc-server.fake.ts'
import { createRpc, type RpcOptions } from './rpc.ts'

const say = 'echo.Echo/Say'
const count = 'echo.Echo/Count'
const limit = 16 * 1024 * 1024

/** A client of a server that does this with every call. */
const connect = async (t: Test, onCall?: (stream: ServerHttp2Stream) => unknown, settings?: Settings) => {
  const { path, remove } = await createSocketPath()
  const server = await createGrpcServer(path, onCall, settings)
  const clock = fakeClock()
  const rpc = createRpc({ endpoint: path, schema: echoSchema, clock })
  t.teardown(async () => {
    rpc.close()
    await server.kill()
    await remove()
  })
  const texts = async (options?: RpcOptions) => {
    const heard: string[] = []
    await rpc.stream<Text>(count, { text: 'go' }, ({ text }) => heard.push(text), options)
    return heard
  }
  return { rpc, server, clock, texts, ask: (text: string, options?: RpcOptions) => rpc.call<Text>(say, { text }, options) }
}

t.test('a call says who asks what, for how long, with its headers, and is answered', async t => {
  const { ask, server } = await connect(t)
  t.same(await ask('hello', { headers: { 'containerd-namespace': 'k8s.io' }, timeoutMs: 5000 }), { text: 'hello' })
  t.match(server.calls[0], {
    ...{ ':method': 'POST', ':path': '/echo.Echo/Say', 'content-type': 'application/grpc', te: 'trailers' },
    ...{ 'grpc-timeout': '5000m', 'containerd-namespace': 'k8s.io' },
  })
  await ask('')
  t.notOk('grpc-timeout' in server.calls[1]!, 'without a deadline it may take for ever')
  await ask('', { timeoutMs: 1e9 })
  t.equal(server.calls[2]!['grpc-timeout'], '1000000S', 'at most eight digits')
})

const three = ['one', '', 'three'].map(frameOf)
const bytes = [...Buffer.concat(three)].map(byte => Buffer.of(byte))
for (const [name, body, expected] of [
  ['a message in each DATA frame', three, ['one', '', 'three']],
  ['several messages in one', [Buffer.concat(three)], ['one', '', 'three']],
  ['a DATA frame for each byte', bytes, ['one', '', 'three']],
  ['a stream without any', [], []],
] as const) {
  t.test(`streams: ${name}`, async t => {
    const { texts } = await connect(t, stream => answer(stream, { body }))
    t.same(await texts(), expected)
  })
}

t.test('a message of exactly 16 MB goes there and back within moments; a list does not wait for words about windows', async t => {
  const { ask, server } = await connect(t)
  const longest = 'x'.repeat(limit - 5)
  const started = performance.now()
  t.equal((await ask(longest)).text.length, longest.length)
  t.ok(performance.now() - started < 5000, `${Math.round(performance.now() - started)} ms`)
  t.ok((server.sessions[0]!.remoteSettings.initialWindowSize ?? 0) >= 1024 * 1024, 'a window for the stream')
  t.ok((server.sessions[0]!.state.remoteWindowSize ?? 0) >= 512 * 1024, 'and one for the connection')
})

t.test('a request of 16 MB that nobody reads is not in the way of another', async t => {
  const begun = Promise.withResolvers<void>()
  const onCall = (stream: ServerHttp2Stream) => (stream.id === 1 ? begun.resolve() : echo(stream))
  const { ask } = await connect(t, onCall)
  const over = new AbortController()
  const stuck = t.rejects(ask('x'.repeat(limit - 5), { signal: over.signal }), { message: 'over' })
  await begun.promise
  t.same(await ask('small'), { text: 'small' })
  over.abort(new Error('over'))
  await stuck
})

t.test('a longer message is not sent', async t => {
  const { ask, server } = await connect(t)
  await t.rejects(ask('x'.repeat(limit - 4)), { code: 'runtime-refused', message: /^Attempted to send message larger than max/ })
  t.equal(server.calls.length, 0)
})

t.test('nor is one read: the server is told to stop with its first bytes', async t => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(limit + 1, 1)
  const stopped = Promise.withResolvers<number>()
  const { ask } = await connect(t, stream => {
    stream.on('close', () => stopped.resolve(stream.rstCode))
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
    stream.write(head)
  })
  await t.rejects(ask(''), { code: 'runtime-refused', message: 'Received message larger than max (16777217 vs 16777216)' })
  t.equal(await stopped.promise, constants.NGHTTP2_CANCEL)
})

const html = { ':status': 200, 'content-type': 'text/html' }
const failures: readonly (readonly [string, Answer, { code: string; message?: string | RegExp }])[] = [
  [
    'a failure in trailers after a message',
    { body: [frameOf('x')], trailers: { 'grpc-status': '5', 'grpc-message': 'no such caf%C3%A9' } },
    { code: 'not-found', message: 'no such café' },
  ],
  [
    'an answer of trailers only',
    { trailers: { 'grpc-status': '12', 'grpc-message': 'unknown method' } },
    { code: 'unsupported' },
  ],
  ['no status at all', { body: [frameOf('x')], trailers: {} }, { code: 'runtime-refused', message: /without gRPC status/ }],
  [
    'another HTTP status',
    { body: [Buffer.from('<html>')], head: { ':status': 503 }, trailers: {} },
    { code: 'runtime-away', message: /HTTP status code 503/ },
  ],
  [
    'a page of another server',
    { body: [Buffer.from('<!DOCTYPE html>')], head: html, trailers: {} },
    { code: 'runtime-refused', message: /without gRPC status/ },
  ],
  [
    'an end within a message',
    { body: [frameOf('hello').subarray(0, 7)] },
    { code: 'runtime-refused', message: /within a message/ },
  ],
  ['a compressed message', { body: [Buffer.of(1, 0, 0, 0, 0)] }, { code: 'runtime-refused', message: /compressed/ }],
  ['bytes that are no such message', { body: [Buffer.of(0, 0, 0, 0, 1, 255)] }, { code: 'runtime-refused', message: /parsing/ }],
  ['no message where one is due', { body: [] }, { code: 'unsupported', message: /answered by 0 messages/ }],
  ['two messages where one is due', { body: three }, { code: 'unsupported', message: /answered by 3 messages/ }],
]
for (const [name, given, expected] of failures) {
  t.test(`fails: ${name}`, async t => {
    const { ask, server } = await connect(t, stream => answer(stream, given))
    await t.rejects(ask(''), expected)
    await t.rejects(ask(''), expected)
    t.equal(server.sessions.length, 1, 'the connection is as good as before')
  })
}

t.test('a stream that the server breaks off is a failure; one that it refuses is tried once more', async t => {
  const resets = [constants.NGHTTP2_INTERNAL_ERROR, constants.NGHTTP2_REFUSED_STREAM]
  const { ask, server } = await connect(t, stream => {
    const code = resets.shift()
    if (code === undefined) return echo(stream)
    stream.close(code)
  })
  await t.rejects(ask('a'), { code: 'runtime-refused', message: 'Received RST_STREAM with code 2' })
  t.same(await ask('b'), { text: 'b' })
  resets.push(constants.NGHTTP2_REFUSED_STREAM, constants.NGHTTP2_REFUSED_STREAM)
  await t.rejects(ask('c'), { code: 'runtime-away' })
  t.equal(server.calls.length, 5)
})

/** A server that says one thing and then nothing; `stopped` is how its stream ended. */
const silent = async (t: Test) => {
  const begun = Promise.withResolvers<void>()
  const stopped = Promise.withResolvers<number>()
  const client = await connect(t, stream => {
    stream.on('close', () => stopped.resolve(stream.rstCode))
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
    stream.write(frameOf('first'), () => begun.resolve())
  })
  return { ...client, begun: begun.promise, stopped: stopped.promise }
}

t.test('a deadline ends the call here and there', async t => {
  const { ask, clock, begun, stopped } = await silent(t)
  const asked = ask('', { timeoutMs: 5000 })
  await begun
  await clock.advance(4999)
  const failed = t.rejects(asked, { code: 'runtime-timeout', message: 'Deadline exceeded after 5 s' })
  await clock.advance(1)
  await failed
  t.equal(await stopped, constants.NGHTTP2_CANCEL)
})

t.test('a deadline that is longer than a timer can be is left to the server', async t => {
  const { ask, clock, server } = await connect(t)
  const asked = ask('', { timeoutMs: 2 ** 31 })
  await clock.advance(2 ** 31)
  t.same(await asked, { text: '' })
  t.equal(server.calls[0]!['grpc-timeout'], '2147484S')
})

t.test('a signal ends the call with its own reason, and nothing is heard afterwards', async t => {
  const { rpc, begun, stopped } = await silent(t)
  const over = new AbortController()
  const heard: string[] = []
  const first = Promise.withResolvers<void>()
  const onMessage = ({ text }: Text) => {
    heard.push(text)
    first.resolve()
  }
  const streaming = rpc.stream<Text>(count, { text: '' }, onMessage, { signal: over.signal })
  await Promise.all([begun, first.promise])
  over.abort(new Error('seen enough'))
  await t.rejects(streaming, { message: 'seen enough' })
  t.equal(await stopped, constants.NGHTTP2_CANCEL)
  t.same(heard, ['first'])
})

t.test('not even what came with it', async t => {
  const { rpc } = await connect(t, stream => answer(stream, { body: [Buffer.concat(three)] }))
  const over = new AbortController()
  const heard: string[] = []
  const onMessage = ({ text }: Text) => {
    heard.push(text)
    over.abort(new Error('seen enough'))
  }
  await t.rejects(rpc.stream<Text>(count, {}, onMessage, { signal: over.signal }), { message: 'seen enough' })
  t.same(heard, ['one'])
})

t.test('a call that is given up before there is a connection is not made', async t => {
  const { ask, server } = await connect(t)
  const over = new AbortController()
  const asked = ask('first', { signal: over.signal })
  over.abort(new Error('never mind'))
  await t.rejects(asked, { message: 'never mind' })
  t.same(await ask('second'), { text: 'second' })
  t.equal(server.calls.length, 1)
})

t.test('what a reader throws ends the call', async t => {
  const { rpc, stopped } = await silent(t)
  const onMessage = () => {
    throw new Error('cannot use this')
  }
  await t.rejects(rpc.stream(count, {}, onMessage), { message: 'cannot use this' })
  t.equal(await stopped, constants.NGHTTP2_CANCEL)
})

t.test('200 calls at once, where the server takes 20 of them at a time', async t => {
  const { ask, server } = await connect(t, echo, { maxConcurrentStreams: 20 })
  const words = Array.from({ length: 200 }, (_, index) => `${index}`)
  t.same(await Promise.all(words.map(async it => (await ask(it)).text)), words)
  t.equal(server.sessions.length, 1)
})

t.test('a call that waits for its turn can be given up, and others go on', async t => {
  const begun = Promise.withResolvers<ServerHttp2Stream>()
  let calls = 0
  const onCall = (stream: ServerHttp2Stream) => {
    calls += 1
    return calls === 1 ? begun.resolve(stream) : echo(stream)
  }
  const { ask, server } = await connect(t, onCall, { maxConcurrentStreams: 1 })
  const first = ask('first')
  const stream = await begun.promise
  const over = new AbortController()
  const second = ask('second', { signal: over.signal })
  const third = ask('third')
  over.abort(new Error('too long'))
  await t.rejects(second, { message: 'too long' })
  await echo(stream)
  t.same(await Promise.all([first, third]), [{ text: 'first' }, { text: 'third' }])
  t.equal(server.sessions.length, 1)
})

for (const [endpoint, accepted] of [
  ['unix:///run/containerd/containerd.sock', true],
  ['unix:/run/crio/crio.sock', true],
  ['/run/containerd/containerd.sock', true],
  ['tcp://127.0.0.1:1234', false],
  ['npipe:////./pipe/x', false],
  ['', false],
] as const) {
  t.test(`endpoint "${endpoint}" is ${accepted ? 'taken' : 'refused by name'}`, async t => {
    const create = () => createRpc({ endpoint, schema: echoSchema, clock: fakeClock() })
    if (accepted) create().close()
    else t.throws(create, { code: 'bad-config', message: /want unix:/ })
    t.pass()
  })
}

t.test('what cannot be asked is not sent', async t => {
  const { rpc, server } = await connect(t)
  await t.rejects(rpc.call('echo.Echo/Nothing', {}), { code: 'unsupported', message: 'no method echo.Echo/Nothing' })
  await t.rejects(rpc.call(say, 7 as unknown as object), { code: 'runtime-refused', message: /^Request message serialization/ })
  const gone = AbortSignal.abort(new Error('no longer wanted'))
  await t.rejects(rpc.call(say, {}, { signal: gone }), { message: 'no longer wanted' })
  for (const timeoutMs of [0, -5]) await t.rejects(rpc.call(say, {}, { timeoutMs }), { code: 'runtime-timeout' })
  t.equal(server.sessions.length, 0, 'nor is there a connection yet')
})

for (const [source, result] of protos) {
  t.test(`${result} is compiled from ${source} as it is now`, async t => {
    const compiled = JSON.parse(await readFile(join(import.meta.dirname, result), 'utf8'))
    t.strictSame(compiled, JSON.parse(JSON.stringify(await compileProto(source))), 'node api/compile-protos.ts was not run')
  })
}
