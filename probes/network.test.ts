// Probes against real sockets on the loopback interface.
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net'
import { Server as GrpcServer, loadPackageDefinition, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js'
import { fromJSON } from '@grpc/proto-loader'
import type { INamespace } from 'protobufjs'
import t from 'tap'
import type { Container, HttpGetAction } from '../api/types.ts'
import { systemClock } from '../host/clock.ts'
import { Fault } from '../host/fault.ts'
import { createAttempt } from './attempt.ts'
import { type ExecOutput, probeExec } from './exec.ts'
import { createGrpcProber } from './grpc.ts'
import { createHttpSender, probeHttp } from './http.ts'
import { toRequest } from './request.ts'
import { probeTcp } from './tcp.ts'

const container: Container = { name: 'c', image: 'i' }
const never = new AbortController().signal
const sender = createHttpSender(systemClock)

const listen = async (server: Server, t: Teardown, host = '127.0.0.1'): Promise<number> => {
  await new Promise<void>(resolve => server.listen(0, host, resolve))
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const serve = (t: Teardown, answer: (request: IncomingMessage, response: ServerResponse) => void, host?: string) =>
  listen(createHttp(answer), t, host)

const ask = (port: number, action: Partial<HttpGetAction> = {}, timeoutMs = 2000, podIP = '127.0.0.1') =>
  probeHttp(toRequest({ port, ...action }, container, podIP, 'probe'), timeoutMs, sender, never)

const closedPort = async (t: Teardown): Promise<number> => {
  const server = createTcp()
  const port = await listen(server, t)
  await new Promise(resolve => server.close(resolve))
  return port
}

for (const [status, outcome, message] of [
  [200, 'success', 'hello'],
  [204, 'success', ''],
  [304, 'warning', 'Probe terminated redirects, Response body: '],
  [400, 'failure', 'HTTP probe failed with statuscode: 400'],
  [500, 'failure', 'HTTP probe failed with statuscode: 500'],
] as const) {
  t.test(`a server that answers ${status} is a ${outcome}`, async t => {
    const port = await serve(t, (_, response) => response.writeHead(status).end(status === 204 || status === 304 ? '' : 'hello'))
    t.same(await ask(port), { outcome, message })
  })
}

t.test('the request is the one that servers know from the kubelet', async t => {
  const port = await serve(t, (request, response) => response.end(JSON.stringify([request.url, request.rawHeaders])))
  const { message } = await ask(port, { path: '/x?y', httpHeaders: [{ name: 'Host', value: 'web' }] })
  const [url, headers] = JSON.parse(message) as [string, string[]]
  t.equal(url, '/x?y')
  t.same(headers.toSorted(), ['*/*', 'Accept', 'Connection', 'Host', 'User-Agent', 'close', 'kube-probe/1.36', 'web'])
})

t.test('a redirect on the same host is followed, ten are too many, another host is a warning', async t => {
  const port = await serve(t, (request, response) => {
    if (request.url === '/loop') return void response.writeHead(302, { Location: '/loop' }).end()
    if (request.url === '/away') return void response.writeHead(302, { Location: 'http://elsewhere.invalid/' }).end('bye')
    if (request.url === '/once') return void response.writeHead(302, { Location: '/' }).end()
    response.end('there')
  })
  t.same(await ask(port, { path: '/once' }), { outcome: 'success', message: 'there' })
  t.same(await ask(port, { path: '/away' }), { outcome: 'warning', message: 'Probe terminated redirects, Response body: bye' })
  t.same(await ask(port, { path: '/loop' }), {
    outcome: 'failure',
    message: `Get "http://127.0.0.1:${port}/loop": stopped after 10 redirects`,
  })
})

t.test('a port that nobody serves is refused, a silent server times out, one that hangs up is an EOF', async t => {
  const closed = await closedPort(t)
  t.same(await ask(closed), {
    outcome: 'failure',
    message: `Get "http://127.0.0.1:${closed}/": dial tcp 127.0.0.1:${closed}: connect: connection refused`,
  })
  const silent = await listen(
    createTcp(socket => socket.on('error', () => undefined)),
    t,
  )
  t.match(await ask(silent, {}, 50), { outcome: 'failure', message: /context deadline exceeded .* while awaiting headers/ })
  const rude = await listen(
    createTcp(socket => socket.destroy()),
    t,
  )
  t.match(await ask(rude), { outcome: 'failure', message: /EOF|connection reset by peer/ })
})

t.test('a body without an end is cut off and its connection closed', async t => {
  const closed = Promise.withResolvers<void>()
  const port = await serve(t, (_, response) => {
    response.on('close', closed.resolve)
    const more = () => {
      while (!response.destroyed && response.write('x'.repeat(4096)));
    }
    response.on('drain', more)
    more()
  })
  const { outcome, message } = await ask(port)
  t.equal(outcome, 'success')
  t.equal(message.length, 10 * 1024)
  await closed.promise
})

t.test('an IPv6 pod is asked', async t => {
  const port = await serve(t, (request, response) => response.end(request.headers.host), '::1')
  t.same(await ask(port, {}, 2000, '::1'), { outcome: 'success', message: `[::1]:${port}` })
})

t.test('HTTPS is not verified, and a server that speaks plain HTTP is told apart', async t => {
  const port = await listen(
    createHttps({ key, cert }, (_, response) => response.end('secure')),
    t,
  )
  t.same(await ask(port, { scheme: 'HTTPS' }), { outcome: 'success', message: 'secure' })
  const plain = await serve(t, (_, response) => response.end())
  t.match(await ask(plain, { scheme: 'HTTPS' }), { outcome: 'failure', message: /server gave HTTP response to HTTPS client/ })
})

t.test('no connection outlives its answer', async t => {
  const server = createHttp((_, response) => response.end())
  const port = await listen(server, t)
  for (let i = 0; i < 20; i++) await Promise.all([ask(port), ask(port, { path: '/b' })])
  const open = () => new Promise<number>(resolve => server.getConnections((_, number) => resolve(number)))
  for (let tries = 0; (await open()) > 0 && tries < 100; tries++) await systemClock.sleep(5)
  t.equal(await open(), 0)
})

t.test('a tcp probe opens a connection, is refused, or gives up', async t => {
  const closed = await closedPort(t)
  const port = await listen(
    createTcp(socket => socket.on('error', () => undefined)),
    t,
  )
  t.same(await probeTcp({ host: '127.0.0.1', port, timeoutMs: 1000 }, systemClock, never), { outcome: 'success', message: '' })
  t.same(await probeTcp({ host: '127.0.0.1', port: closed, timeoutMs: 1000 }, systemClock, never), {
    outcome: 'failure',
    message: `dial tcp 127.0.0.1:${closed}: connect: connection refused`,
  })
})

const long = 'x'.repeat(300)
t.test('a grpc probe wants SERVING of the service it names', async t => {
  const port = await grpcServer(t, { '': 'SERVING', slow: 'NOT_SERVING', odd: 'UNKNOWN', [long]: 'SERVING' })
  const probe = createGrpcProber(systemClock)
  const ask = (service: string) => probe({ host: '127.0.0.1', port, service, timeoutMs: 2000 }, never)
  t.same(await ask(''), { outcome: 'success', message: 'service healthy' })
  t.same(await ask('slow'), { outcome: 'failure', message: 'service unhealthy (responded with "NOT_SERVING")' })
  t.match(await ask('odd'), { message: 'service unhealthy (responded with "UNKNOWN")' })
  t.match(await ask(long), { outcome: 'success' })
  t.match(await ask('none'), { outcome: 'failure', message: /health rpc probe failed: 5 NOT_FOUND/ })
})

t.test('a grpc probe of a server without the health service, and of no server at all', async t => {
  const probe = createGrpcProber(systemClock)
  const bare = await grpcServer(t)
  t.match(await probe({ host: '127.0.0.1', port: bare, service: '', timeoutMs: 2000 }, never), {
    outcome: 'failure',
    message: /does not implement the grpc health protocol/,
  })
  const port = await closedPort(t)
  t.same(await probe({ host: '127.0.0.1', port, service: '', timeoutMs: 60 }, never), {
    outcome: 'failure',
    message: `timeout: failed to connect service "127.0.0.1:${port}" within 0.06s: context deadline exceeded`,
  })
})

const output = (exitCode: number, stdout = '', stderr = ''): ExecOutput => ({
  exitCode,
  stdout: Buffer.from(stdout),
  stderr: Buffer.from(stderr),
})

t.test('an exec probe goes by the exit code, and a command that takes too long is a failure', async t => {
  const probe = { containerId: 'id', command: ['check', 'it'], timeoutSeconds: 3 }
  const run = (answer: () => Promise<ExecOutput>) => probeExec(probe, { execSync: answer }, never)
  t.same(await run(async () => output(0, 'fine')), { outcome: 'success', message: 'fine' })
  t.same(await run(async () => output(1, 'out', 'err')), { outcome: 'failure', message: 'outerr' })
  t.match(await run(() => Promise.reject(new Fault('runtime-timeout', 'late'))), {
    outcome: 'failure',
    message: 'command timed out: "check it" timed out after 3s',
  })
  t.match(await run(() => Promise.reject(new Fault('runtime-away', 'gone'))), { outcome: 'error', message: 'gone' })
})

t.test('a question that cannot be asked is tried three times and then counts as nothing', async t => {
  const asked: (readonly string[])[] = []
  const cri = {
    execSync: async (_: string, command: readonly string[]) => {
      asked.push(command)
      throw new Fault('runtime-away', 'gone')
    },
  }
  const attempt = createAttempt({ cri, clock: systemClock })
  const env = [{ name: 'A', value: 'x' }]
  const answer = await attempt(
    { exec: { command: ['$(A)'] } },
    { container: { ...container, env }, containerId: 'id', podIPs: [] },
    never,
  )
  t.same(answer, { outcome: 'error', message: 'gone' })
  t.same(asked, [['x'], ['x'], ['x']])
  t.match(await attempt({ tcpSocket: { port: 1 } }, { container, containerId: 'id', podIPs: [] }, never), {
    message: 'the pod has no address',
  })
  t.same(await attempt({ tcpSocket: { port: 'none' } }, { container, containerId: 'id', podIPs: ['::1'] }, never), {
    outcome: 'error',
    message: 'port none not found',
  })
})

t.test('an attempt that is stopped answers at once and leaves no connection', async t => {
  const closed = Promise.withResolvers<void>()
  const port = await listen(
    createTcp(socket =>
      socket
        .on('close', closed.resolve)
        .resume()
        .on('error', () => undefined),
    ),
    t,
  )
  const stop = new AbortController()
  const answer = probeHttp(toRequest({ port }, container, '127.0.0.1', 'probe'), 60_000, sender, stop.signal)
  systemClock.after(20, () => stop.abort())
  t.match(await answer, { outcome: 'error' })
  await closed.promise
})

const grpcServer = async (t: Teardown, services?: Record<string, string>): Promise<number> => {
  const server = new GrpcServer()
  if (services) {
    const { service } = (loadPackageDefinition(fromJSON(healthSchema, { enums: String })) as unknown as Health).grpc.health.v1
      .Health
    server.addService(service, {
      check: ({ request }: { request: { service: string } }, done: (error: object | null, value?: object) => void) => {
        const status = services[request.service ?? '']
        if (status === undefined) done({ code: 5, details: 'unknown service' })
        else done(null, { status })
      },
    })
  }
  t.teardown(() => server.forceShutdown())
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port))),
  )
}

// The public protocol, read by a protobuf library: what the probe encodes by hand must be understood by others.
const healthSchema: INamespace = {
  nested: {
    'grpc.health.v1': {
      nested: {
        HealthCheckRequest: { fields: { service: { type: 'string', id: 1 } } },
        HealthCheckResponse: { fields: { status: { type: 'ServingStatus', id: 1 } } },
        ServingStatus: { values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2 } },
        Health: { methods: { Check: { comment: '', requestType: 'HealthCheckRequest', responseType: 'HealthCheckResponse' } } },
      },
    },
  },
}

interface Health {
  readonly grpc: { readonly health: { readonly v1: { readonly Health: { readonly service: ServiceDefinition } } } }
}

interface Teardown {
  teardown(run: () => unknown): void
}

// Self-signed, for tests only; nobody verifies it.
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgs+hz/LEaLhHgkG0Y
7+AFp6SCKZDz4POSP8t2bH10RVChRANCAAQSw1ieYbbYkcN61JSKW3L1oqFEqd10
Ow9/iFyj3GlHOO59sXOdxGMf+MdAS84uf7mC7iYWiRo0vVM+MQ9MRsMZ
-----END PRIVATE KEY-----`
const cert = `-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUJ6+fmojjNnEdXZh6Py70KO/TJ9QwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKcHJvYmUtdGVzdDAgFw0yNjExMjEwODEzMjlaGA8yMTI2MTAy
ODA4MTMyOVowFTETMBEGA1UEAwwKcHJvYmUtdGVzdDBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABBLDWJ5httiRw3rUlIpbcvWioUSp3XQ7D3+IXKPcaUc47n2xc53E
Yx/4x0BLzi5/uYLuJhaJGjS9Uz4xD0xGwxmjUzBRMB0GA1UdDgQWBBQMhY7eYdJH
rXyzL9ip39jrVQin0DAfBgNVHSMEGDAWgBQMhY7eYdJHrXyzL9ip39jrVQin0DAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCj4Aqyzz7Ex5t9fIg2
Y02PhLeMYmHtMa9rgn8YDqMjOQIgdA5wBCEz/B70/Lqzfrc6KLUdpU2hFeW2EG2T
1Qa4dd4=
-----END CERTIFICATE-----`
