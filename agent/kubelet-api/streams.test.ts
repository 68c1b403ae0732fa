// Streams over real TLS, joined with a streaming server of a runtime on loopback: bytes both ways, ends of either side, refusals.
import { once } from 'node:events'
import { request } from 'node:https'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { type FakeClock, fakeClock } from '../../host/clock.fake.ts'
import { Fault } from '../../host/fault.ts'
import { createFakeNode, type FakeNode, webPod } from './node.fake.ts'

const switching = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream: yes\r\n\r\n'

/** A streaming server that keeps the head of each request and hands over the connection once it has upgraded. */
const createRuntime = async (teardown: (end: () => unknown) => void, answer = switching) => {
  const heads: string[] = []
  const joined: Socket[] = []
  const waiting: ((socket: Socket) => void)[] = []
  const server = createServer({ allowHalfOpen: true }, socket => {
    joined.push(socket)
    socket.on('error', () => undefined)
    socket.once('data', head => {
      heads.push(head.toString())
      socket.write(answer)
      waiting.shift()?.(socket)
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  teardown(() => {
    for (const socket of joined) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    heads,
    url: `http://127.0.0.1:${port}/exec/TOKEN`,
    next: () => new Promise<Socket>(resolve => waiting.push(resolve)),
  }
}

const upgradeHeaders = { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'v4.channel.k8s.io' }

/** The upgraded connection, or the answer that came in its place. */
const upgrade = (node: FakeNode, path: string, method = 'POST', token = 'admin') =>
  new Promise<{ socket: Duplex } | { status: number | undefined; body: string }>((resolve, reject) => {
    const asked = request({ ...node.options(path, { token, method, headers: upgradeHeaders }), allowHalfOpen: true } as object)
    asked.on('upgrade', (_, socket) => resolve({ socket }))
    asked.on('response', async it => resolve({ status: it.statusCode, body: await text(it) }))
    asked.on('error', reject).end()
  })

const join = async (
  t: { teardown(end: () => unknown): void },
  options: { url: string; next: () => Promise<Socket> },
  clock?: FakeClock,
) => {
  const { promise: ended, resolve: end } = Promise.withResolvers<string>()
  const node = await createFakeNode(t.teardown, {
    cri: { exec: async () => options.url },
    ...(clock && { clock: { ...clock, now: Date.now } }),
    more: {
      onRequest:
        ({ path }) =>
        () =>
          end(path),
    },
  })
  const next = options.next()
  const client = await upgrade(node, '/exec/default/web/c?command=sh&input=1&output=1')
  if (!('socket' in client)) throw new Error(client.body)
  client.socket.on('error', () => undefined)
  return { node, client: client.socket, runtime: await next, ended }
}

/** All that a side hears until the other has ended; it can go on writing. */
const hear = async (side: Duplex): Promise<string> => {
  let heard = ''
  side.on('data', part => {
    heard += part
  })
  await once(side, 'end')
  return heard
}

t.test('what is asked of a container becomes what is asked of the runtime', async t => {
  const runtime = await createRuntime(t.teardown)
  const asked: unknown[] = []
  const note = (name: string) => async (it: object, ports?: unknown) => {
    asked.push([name, it, ...(ports ? [ports] : [])])
    return runtime.url
  }
  const node = await createFakeNode(t.teardown, {
    cri: {
      exec: note('exec'),
      attach: note('attach'),
      portForward: note('portForward') as never,
      listPodSandbox: async filter => {
        asked.push(filter)
        return [
          { id: 'old', createdAt: 1 },
          { id: 'new', createdAt: 2 },
        ] as never
      },
    },
  })
  const open = async (path: string, method = 'POST') => {
    const client = await upgrade(node, path, method)
    t.ok('socket' in client, path)
    if ('socket' in client) client.socket.destroy()
    return asked.splice(0)
  }
  const streams = { stdin: true, stdout: true, stderr: false, tty: true }
  t.same(await open('/exec/default/web/c?command=sh&command=-c&command=echo%20a&input=1&output=1&error=1&tty=1'), [
    ['exec', { containerId: 'id', cmd: ['sh', '-c', 'echo a'], ...streams }],
  ])
  t.same(await open('/exec/default/web/uid-web/c?command=ls&output=1', 'GET'), [
    ['exec', { containerId: 'id', cmd: ['ls'], stdin: false, stdout: true, stderr: false, tty: false }],
  ])
  t.same(await open('/attach/default/web/c?output=1&error=1'), [
    ['attach', { containerId: 'id', stdin: false, stdout: true, stderr: true, tty: false }],
  ])
  node.pods = [{ ...webPod, spec: { ...webPod.spec, containers: [{ name: 'c', image: 'i', tty: true }] } }]
  t.same(
    await open('/attach/default/web/c?input=1&output=1&error=1'),
    [['attach', { containerId: 'id', ...streams }]],
    'the terminal is the one that the container was started with',
  )
  const ready = { state: { state: 'SANDBOX_READY' }, labelSelector: { 'io.kubernetes.pod.uid': 'uid-web' } }
  t.same(await open('/portForward/default/web'), [ready, ['portForward', 'new', []]])
  t.same(await open('/portForward/default/web/uid-web', 'GET'), [ready, ['portForward', 'new', []]])
})

t.test('the handshake is passed on in the words of the client, without its credentials', async t => {
  const runtime = await createRuntime(t.teardown)
  await join(t, runtime)
  const [head = ''] = runtime.heads
  t.match(head, /^POST \/exec\/TOKEN HTTP\/1\.1\r\n/)
  t.match(head, /\r\nX-Stream-Protocol-Version: v4\.channel\.k8s\.io\r\n/)
  t.match(head, /\r\nUpgrade: SPDY\/3\.1\r\n/i)
  t.notMatch(head, /authorization|admin/i)
})

t.test('bytes go both ways as they are', async t => {
  const { client, runtime } = await join(t, await createRuntime(t.teardown))
  const bytes = Buffer.from(Array.from({ length: 256 * 1024 }, (_, i) => i % 251))
  const receive = async (from: Duplex) => {
    const parts: Buffer[] = []
    for (let length = 0; length < bytes.length; ) {
      const [part] = (await once(from, 'data')) as [Buffer]
      parts.push(part)
      length += part.length
    }
    return Buffer.concat(parts)
  }
  for (const [from, to] of [
    [client, runtime],
    [runtime, client],
  ] as const) {
    const received = receive(to)
    from.write(bytes)
    t.ok((await received).equals(bytes))
  }
})

t.test('a side that has ended still hears the other one to its end', async t => {
  const { client, runtime, ended } = await join(t, await createRuntime(t.teardown))
  client.end('last words')
  t.equal(await hear(runtime), 'last words')
  runtime.end('an answer')
  t.equal(await hear(client), 'an answer')
  t.equal(await ended, 'exec', 'and then it is over')
})

t.test('what the runtime wrote before it closed comes through whole', async t => {
  const { client, runtime } = await join(t, await createRuntime(t.teardown))
  const size = 8 * 1024 * 1024
  runtime.end(Buffer.alloc(size, 'x'))
  let length = 0
  for await (const part of client) {
    length += (part as Buffer).length
    if (length < 1024 * 1024) await new Promise(resolve => setTimeout(resolve, 1))
  }
  t.equal(length, size)
})

t.test('a side that has gone away takes the other one with it', async t => {
  const server = await createRuntime(t.teardown)
  const clock = fakeClock()
  const first = await join(t, server, clock)
  const heard = hear(first.runtime)
  first.client.destroy()
  t.equal(await heard, '', 'the runtime is told at once')
  await clock.advance(30_000)
  await first.ended
  // The kernel tells of a peer that is gone when it is written to.
  while (!first.runtime.destroyed) {
    first.runtime.write('to nobody')
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  const second = await join(t, server)
  const rest = hear(second.client)
  second.runtime.resetAndDestroy()
  t.equal(await rest, '')
  t.equal(await second.ended, 'exec')
})

t.test('streams without a word for as long as the configuration allows are ended', async t => {
  const clock = fakeClock()
  const { client, runtime } = await join(t, await createRuntime(t.teardown), clock)
  await clock.advance(3 * 3_600_000)
  client.write('still here')
  t.equal(String((await once(runtime, 'data'))[0]), 'still here')
  await clock.advance(3 * 3_600_000)
  t.notOk(client.destroyed, 'four hours count from the last word')
  const heard = Promise.all([hear(client), hear(runtime)])
  await clock.advance(3_600_000)
  t.same(await heard, ['', ''])
})

t.test('the end of the server ends its streams', async t => {
  const { client, runtime, node } = await join(t, await createRuntime(t.teardown))
  const heard = Promise.all([hear(client), hear(runtime)])
  await node.server.close()
  t.same(await heard, ['', ''])
})

t.test('what the runtime refuses is passed on, and the connection with it', async t => {
  const body = 'cannot find the request'
  const answer = `HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  const runtime = await createRuntime(t.teardown, answer)
  const node = await createFakeNode(t.teardown, { cri: { exec: async () => runtime.url } })
  t.match(await upgrade(node, '/exec/default/web/c?command=sh&output=1'), { status: 404, body })
})

t.test('a stream that cannot be is refused before the upgrade', async t => {
  const node = await createFakeNode(t.teardown, {
    cri: {
      exec: () => Promise.reject(new Fault('runtime-away', 'containerd does not answer')),
      attach: async () => 'http://127.0.0.1:1/attach/TOKEN',
      portForward: () => Promise.reject(new Fault('not-found', 'sandbox "s" not found')),
      listPodSandbox: async () => [],
    },
  })
  const path = '/exec/default/web/c?command=sh&output=1'
  t.match(await upgrade(node, path, 'POST', 'wrong'), { status: 401, body: 'Unauthorized' })
  t.match(await upgrade(node, path, 'POST', 'scraper'), { status: 403, body: /subresource\(s\)=\[proxy\]/ })
  t.match(await upgrade(node, path), { status: 500, body: 'containerd does not answer' })
  t.match(await upgrade(node, '/attach/default/web/c?output=1'), { status: 502, body: /streaming server does not answer/ })
  t.match(await upgrade(node, '/portForward/default/web'), { status: 500, body: /failed to find sandbox for pod default\/web/ })
  t.match(await upgrade(node, '/exec/default/web/x?command=sh&output=1'), { status: 500, body: 'container not found ("x")' })
  t.match(await upgrade(node, '/attach/default/web/x?output=1'), { body: 'container x not found in pod web_default' })
  node.pods = []
  t.match(await upgrade(node, path), { status: 404, body: 'pod does not exist' })
})

t.test('a container that has ended cannot be entered', async t => {
  const node = await createFakeNode(t.teardown)
  const status = { name: 'c', ready: false, restartCount: 0, image: '', imageID: '', containerID: 'containerd://id' }
  node.pods = [
    { ...webPod, status: { phase: 'Failed', containerStatuses: [{ ...status, state: { terminated: { exitCode: 1 } } }] } },
  ]
  t.match(await upgrade(node, '/exec/default/web/c?command=sh&output=1'), { status: 500, body: 'container not found ("c")' })
})

t.test('an upgrade that is offered elsewhere is not taken, and one that is missing is asked for', async t => {
  const runtime = await createRuntime(t.teardown)
  const node = await createFakeNode(t.teardown, { cri: { exec: async () => runtime.url } })
  t.match(await upgrade(node, '/pods', 'GET'), { status: 200, body: /PodList/ })
  t.match(await node.ask('/exec/default/web/c?command=sh&output=1', { token: 'admin', method: 'POST' }), {
    status: 400,
    body: 'Upgrade request required\n',
  })
})
