// The connection, as calls see it: made when needed, made again when lost, not asked for too often, and no reason for a process
// to stay. Time is the test's own, the sockets are real.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { rename } from 'node:fs/promises'
import http2, { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import net, { type Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import { createGrpcServer, createSocketPath, echo, echoSchema, frameOf, answer as reply, type Text } from './grpc-server.fake.ts'
import { createRpc } from './rpc.ts'

const minuteMs = 60_000

/** A client, and servers that come and go at its socket. */
const createLab = async (t: Test) => {
  const { path, remove } = await createSocketPath()
  const clock = fakeClock()
  const rpc = createRpc({ endpoint: path, schema: echoSchema, clock })
  const serve = async (onCall?: (stream: ServerHttp2Stream) => unknown, at = path) => {
    const server = await createGrpcServer(at, onCall)
    t.teardown(server.kill)
    return server
  }
  t.teardown(async () => {
    rpc.close()
    await remove()
  })
  const ask = async (text = '') => (await rpc.call<Text>('echo.Echo/Say', { text })).text
  return { path, clock, rpc, serve, ask }
}

/** What calls do that are answered when the test says so. */
const createPatience = () => {
  const streams: ServerHttp2Stream[] = []
  const waiting: (() => void)[] = []
  return {
    onCall: (stream: ServerHttp2Stream) => {
      streams.push(stream)
      for (const tell of waiting.splice(0)) tell()
    },
    /** Resolves when that many calls have come. */
    calls: async (count: number) => {
      while (streams.length < count) await new Promise<void>(resolve => waiting.push(resolve))
    },
    answerAll: (from = 0) =>
      Promise.all(
        streams
          .splice(from)
          .filter(it => !it.destroyed)
          .map(it => reply(it, { body: [frameOf('at last')] })),
      ),
  }
}

t.test('nobody has ever listened, or nobody listens any more: away, and what the socket said', async t => {
  const { path, clock, ask } = await createLab(t)
  const said = 'no connection to the container runtime: connect'
  await t.rejects(ask(), { code: 'runtime-away', retry: 'backoff', message: `${said} ENOENT ${path}` })
  await t.rejects(ask(), { message: `${said} ENOENT ${path}` }, 'again, at once')
  const server = net.createServer().listen(`${path}.old`)
  await once(server, 'listening')
  await rename(`${path}.old`, path)
  server.close()
  await clock.advance(100)
  await t.rejects(ask(), { code: 'runtime-away', message: `${said} ECONNREFUSED ${path}` })
})

t.test('a socket that nobody answers at is tried after 100 ms, and then half as often each time, to once a second', async t => {
  const { path, clock, ask, serve } = await createLab(t)
  let tries = 0
  const server = net.createServer(socket => {
    tries += 1
    socket.destroy()
  })
  server.listen(path)
  await once(server, 'listening')
  await t.rejects(ask(), { code: 'runtime-away' })
  for (const [index, pauseMs] of [100, 200, 400, 800, 1000, 1000].entries()) {
    await clock.advance(pauseMs - 1)
    await t.rejects(Promise.all([ask(), ask()]), { code: 'runtime-away' })
    t.equal(tries, index + 1, `not before ${pauseMs} ms`)
    await clock.advance(1)
    await t.rejects(ask(), { code: 'runtime-away' })
    t.equal(tries, index + 2, 'but then')
  }
  server.close()
  await once(server, 'close')
  await clock.advance(1000)
  const back = await serve()
  t.equal(await ask('there you are'), 'there you are')
  await back.kill()
  await t.rejects(ask(), { code: 'runtime-away' })
  await clock.advance(100)
  await serve()
  t.equal(await ask('short again'), 'short again')
})

t.test('calls at once make one connection', async t => {
  const { serve, ask } = await createLab(t)
  const server = await serve()
  t.same(await Promise.all([ask('a'), ask('b'), ask('c')]), ['a', 'b', 'c'])
  await ask()
  t.equal(server.sessions.length, 1)
})

t.test('kill -9 of the server fails what is under way; the next call connects again at once', async t => {
  const { serve, ask } = await createLab(t)
  const { onCall, calls } = createPatience()
  const server = await serve(onCall)
  const asked = [ask(), ask()]
  const failed = Promise.all(asked.map(it => t.rejects(it, { code: 'runtime-away', message: 'Connection dropped' })))
  await calls(2)
  await server.kill()
  await failed
  await serve()
  t.equal(await ask('again'), 'again', 'without time having passed')
})

t.test('a connection that was idle when the server was restarted is not noticed', async t => {
  const { serve, ask } = await createLab(t)
  const first = await serve()
  await ask()
  await first.kill()
  await serve()
  t.equal(await ask('same as ever'), 'same as ever')
})

t.test('a server that says goodbye finishes what it has begun; new calls go to the next connection', async t => {
  const { serve, ask } = await createLab(t)
  const { onCall, calls, answerAll } = createPatience()
  const server = await serve(onCall)
  const early = ask()
  await calls(1)
  const [session] = server.sessions
  const heard = once(session!, 'goaway')
  session!.close()
  // The client takes its leave too, which is when it has heard.
  await heard
  const late = ask()
  await calls(2)
  t.equal(server.sessions.length, 2)
  await answerAll()
  t.same(await Promise.all([early, late]), ['at last', 'at last'])
})

t.test('what a server says that it has not begun when it leaves goes to the next connection', async t => {
  const { serve, ask } = await createLab(t)
  const { onCall, calls, answerAll } = createPatience()
  const server = await serve(onCall)
  const done = ask()
  await calls(1)
  await answerAll()
  await done
  const asked = ask()
  await calls(1)
  server.sessions[0]!.goaway(constants.NGHTTP2_NO_ERROR, 1)
  await calls(2)
  t.equal(server.sessions.length, 2)
  await answerAll()
  t.equal(await asked, 'at last')
})

t.test('a server that throws us out fails what is under way, and nothing else', async t => {
  const { serve, ask } = await createLab(t)
  const { onCall, calls } = createPatience()
  const server = await serve(onCall)
  const failed = t.rejects(ask(), { code: 'runtime-away' })
  await calls(1)
  server.sessions[0]!.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from('too_many_pings'))
  await failed
  const late = ask()
  const over = t.rejects(late, { code: 'runtime-away' })
  await calls(2)
  t.equal(server.sessions.length, 2)
  await server.kill()
  await over
})

for (const [name, leave] of [
  ['hangs up', session => session.destroy()],
  ['says goodbye', session => session.close()],
  ['throws us out', session => session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM)],
] as const satisfies (readonly [string, (session: ServerHttp2Session) => void])[]) {
  t.test(`a server that ${name} with its first words is away`, async t => {
    const { path, ask, clock } = await createLab(t)
    const server = http2.createServer().listen(path)
    t.teardown(() => server.close())
    server.on('session', session => {
      session.on('error', () => undefined)
      leave(session)
    })
    await once(server, 'listening')
    for (const pauseMs of [100, 200]) {
      await t.rejects(Promise.all([ask(), ask()]), { code: 'runtime-away' })
      await clock.advance(pauseMs)
    }
  })
}

t.test('so is one that says hello and throws us out in one breath', async t => {
  const { path, ask } = await createLab(t)
  const settings = [0, 0, 0, 4, 0, 0, 0, 0, 0]
  const goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, constants.NGHTTP2_ENHANCE_YOUR_CALM]
  const server = net.createServer(socket => {
    socket.on('error', () => undefined)
    socket.end(Buffer.from([...settings, ...goaway]))
  })
  server.listen(path)
  t.teardown(() => server.close())
  await once(server, 'listening')
  await t.rejects(ask(), { code: 'runtime-away' })
})

t.test('a call under way is kept alive by a ping every 6 minutes', async t => {
  const { serve, ask, clock } = await createLab(t)
  const { onCall, calls, answerAll } = createPatience()
  const server = await serve(onCall)
  const asked = ask()
  await calls(1)
  for (const _ of [1, 2]) {
    const pinged = once(server.sessions[0]!, 'ping')
    await clock.advance(6 * minuteMs)
    await pinged
    // The answer to the ping is on its way before that of the call behind it.
    const behind = ask()
    await calls(2)
    await answerAll(1)
    await behind
  }
  await answerAll()
  t.equal(await asked, 'at last')
  t.equal(server.sessions.length, 1)
})

t.test('a server that answers neither calls nor pings is given up 20 s after the ping', async t => {
  const { path, serve, ask, clock } = await createLab(t)
  const { onCall, calls } = createPatience()
  await serve(onCall, `${path}.behind`)
  const pairs: [Socket, Socket][] = []
  const between = net.createServer(near => {
    const far = net.connect(`${path}.behind`)
    for (const socket of [near, far]) socket.on('error', () => undefined)
    near.pipe(far).pipe(near)
    pairs.push([near, far])
  })
  between.listen(path)
  await once(between, 'listening')
  t.teardown(() => between.close())
  const asked = ask()
  let settled = false
  const failed = t.rejects(asked, { code: 'runtime-away', message: 'Connection dropped' }).finally(() => {
    settled = true
  })
  await calls(1)
  for (const [near, far] of pairs) near.unpipe(far)
  await clock.advance(6 * minuteMs + 19_999)
  t.notOk(settled, 'not before')
  await clock.advance(1)
  await failed
  const again = ask()
  const over = t.rejects(again, { code: 'runtime-away' })
  await calls(2)
  for (const pair of pairs) for (const socket of pair) socket.destroy()
  await over
})

t.test('without a call nobody is pinged, since a Go server takes that amiss; the next call makes up for it', async t => {
  const { serve, ask, clock } = await createLab(t)
  const server = await serve()
  await ask()
  let pings = 0
  const [session] = server.sessions
  session!.on('ping', () => {
    pings += 1
  })
  await clock.advance(30 * minuteMs)
  t.equal(await ask('hello'), 'hello')
  t.equal(pings, 1)
  t.equal(server.sessions.length, 1)
})

t.test('close ends what is under way, and every call after it', async t => {
  const { serve, ask, rpc } = await createLab(t)
  const { onCall, calls } = createPatience()
  const server = await serve(onCall)
  const failed = t.rejects(ask(), { code: 'runtime-away' })
  await calls(1)
  rpc.close()
  await failed
  await t.rejects(ask(), { code: 'runtime-away', message: /was closed/ })
  t.equal(server.sessions.length, 1)
  rpc.close()
})

t.test('a process stays for the answer to its call, and not for the connection', async t => {
  const { path, serve } = await createLab(t)
  const server = await serve(stream => {
    setTimeout(() => echo(stream), 50)
  })
  const script = `
    import { createRpc } from ${JSON.stringify(join(import.meta.dirname, 'rpc.ts'))}
    import { systemClock } from ${JSON.stringify(join(import.meta.dirname, '../host/clock.ts'))}
    const rpc = createRpc({ endpoint: ${JSON.stringify(path)}, schema: ${JSON.stringify(echoSchema)}, clock: systemClock })
    for (const text of ['one', 'two']) console.log((await rpc.call('echo.Echo/Say', { text })).text)`
  const run = promisify(execFile)
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { timeout: 20_000 })
  t.equal(stdout, 'one\ntwo\n')
  t.equal(server.sessions.length, 1)
})
