// The daemon's socket as a client meets it: real HTTP over a real unix socket in a folder of its own.
import { appendFile, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { type AddressInfo, createServer as createTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { systemClock } from '../../host/clock.ts'
import { systemExec } from '../../host/exec.ts'
import { Fault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import { createServer, type ServerDeps } from './server.ts'
import type { NodeView } from './view.ts'

const folder = await mkdtemp(join(tmpdir(), 'nodelet-server-'))
t.teardown(() => rm(folder, { recursive: true }))

const running = { name: 'c', state: { running: { startedAt: '' } }, ready: true, restartCount: 0, image: '', imageID: '' }
const pod: Pod = {
  metadata: { name: 'web-n1', namespace: 'default', uid: 'u' },
  spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i' }] },
  status: { phase: 'Running', containerStatuses: [{ ...running, containerID: 'containerd://id' }] },
}

const build = async (more: Partial<ServerDeps> & { pods?: () => readonly Pod[] } = {}) => {
  const path = join(folder, Math.random().toString(36).slice(2), 'nodelet.sock')
  const view: NodeView = {
    pods: more.pods ?? (() => [pod]),
    gonePods: () => [{ ...pod, metadata: { ...pod.metadata, name: 'old', uid: 'gone' } }],
    services: () => [{ metadata: { name: 's' }, spec: {} }],
    endpointSlices: () => [],
    node: () => ({ metadata: { name: 'n1' } }),
    problems: () => [{ since: 'now', code: 'bad-manifest', object: 'file x', message: 'broken' }],
    trace: async query => ({ text: `${query.target}\n`, body: query }),
    diff: async () => ({ same: true, mode: 'nftables', compared: 1, differences: [] }),
    timeline: podUid => ({ podUid, spans: [{ stage: 'seen', startedAt: 1, endedAt: 1 }], dropped: 0 }),
    logFolder: () => join(folder, 'logs'),
  }
  const cni = async (body: string) => `{"got":${body}}`
  const cri = { exec: () => Promise.reject(new Fault('runtime-away', 'containerd does not answer')) }
  const server = createServer({ path, view, cni, cri, clock: systemClock, log: silentLog, ...more })
  await server.listen()
  t.teardown(() => server.close().catch(() => undefined))
  return { path, server }
}

const ask = (
  socketPath: string,
  path: string,
  options: { method?: string; body?: string; headers?: Record<string, string> } = {},
) =>
  new Promise<IncomingMessage>((resolve, reject) => {
    const { method = 'GET', body, headers = {} } = options
    request({ socketPath, path, method, headers, agent: false }, resolve).on('error', reject).end(body)
  })

const get = async (socketPath: string, path: string, headers = {}) => {
  const response = await ask(socketPath, path, { headers })
  const body = await text(response)
  const json = response.headers['content-type'] === 'application/json'
  return { status: response.statusCode, body: json ? JSON.parse(body) : body }
}

t.test('objects come as kubectl prints them', async t => {
  const { path } = await build()
  t.same(await get(path, '/v1/pods'), {
    status: 200,
    body: {
      apiVersion: 'v1',
      kind: 'List',
      metadata: { resourceVersion: '' },
      items: [{ apiVersion: 'v1', kind: 'Pod', ...pod }],
    },
  })
  t.match((await get(path, '/v1/services')).body, { items: [{ kind: 'Service', metadata: { name: 's' } }] })
  t.same((await get(path, '/v1/endpoints')).body.items, [])
  t.match((await get(path, '/v1/node')).body, { kind: 'Node', metadata: { name: 'n1' } })
  t.match((await get(path, '/v1/problems')).body, { items: [{ code: 'bad-manifest' }] })
  t.match((await get(path, '/v1/pods/default/web')).body, { kind: 'Pod', metadata: { name: 'web-n1' } })
  t.same(await get(path, '/healthz'), { status: 200, body: 'ok\n' })
})

t.test('what is not there is a 404 that says what is', async t => {
  const { path } = await build()
  t.same(await get(path, '/v1/pods/default/wbe'), {
    status: 404,
    body: { code: 'not-found', message: 'pods "wbe" not found in namespace "default"; there is web-n1' },
  })
  t.match(await get(path, '/v2'), { status: 404, body: { message: 'no such path: /v2' } })
  t.match(await get(path, '/v1/pods/default/web/logs'), { status: 404, body: { message: 'pods have no "logs"' } })
})

t.test('a timeline comes as JSON and as text, also of a pod that is gone', async t => {
  const { path } = await build()
  t.match((await get(path, '/v1/pods/default/web/timeline')).body, { podUid: 'u', spans: [{ stage: 'seen' }] })
  t.match(
    (await get(path, '/v1/pods/default/old/timeline', { accept: 'text/plain' })).body,
    /^default\/old: Running, not ready\n/,
  )
})

t.test('a trace comes as text and as values, and its caller is a pod or an address', async t => {
  const addressed: Pod = { ...pod, status: { phase: 'Running', podIPs: [{ ip: '10.0.0.9' }] } }
  const { path } = await build({ pods: () => [addressed] })
  t.same(await get(path, '/v1/trace?target=web', { accept: 'text/plain' }), { status: 200, body: 'web\n' })
  t.match((await get(path, '/v1/trace?target=web&namespace=prod&from=10.0.0.7&protocol=udp')).body, {
    namespace: 'prod',
    from: { name: '10.0.0.7', ips: ['10.0.0.7'] },
    protocol: 'UDP',
  })
  const byPod = await get(path, '/v1/trace?target=web&from=web-n1')
  t.match(byPod.body, { from: { name: 'pod default/web-n1', ips: ['10.0.0.9'] } })
  for (const [query, status, message] of [
    ['', 400, /^target is missing/],
    ['?target=web&protocol=icmp', 400, /want one of tcp, udp, sctp$/],
    ['?target=web&from=wbe', 404, /there is web-n1$/],
  ] as const)
    t.match(await get(path, `/v1/trace${query}`), { status, body: { message } })
})

t.test('what differs in the kernel comes as it was found', async t => {
  const { path } = await build()
  t.same((await get(path, '/v1/diff')).body, { same: true, mode: 'nftables', compared: 1, differences: [] })
})

t.test('a CNI call is handed on, and its failure told', async t => {
  const { path } = await build()
  t.equal(await text(await ask(path, '/cni', { method: 'POST', body: '{"a":1}' })), '{"got":{"a":1}}')
  const broken = await build({ cni: () => Promise.reject(new Fault('network', 'no bridge')) })
  const response = await ask(broken.path, '/cni', { method: 'POST', body: '{}' })
  t.equal(response.statusCode, 500)
  t.same(JSON.parse(await text(response)), { code: 'network', message: 'no bridge' })
})

t.test('logs are read with the parameters of the Kubernetes API', async t => {
  await mkdir(join(folder, 'logs', 'c'), { recursive: true })
  const log = join(folder, 'logs', 'c', '0.log')
  await writeFile(log, '2026-01-02T03:04:05Z stdout F one\n2026-01-02T03:04:06Z stdout F two\n')
  const { path } = await build()
  t.same(await get(path, '/v1/pods/default/web/log'), { status: 200, body: 'one\ntwo\n' })
  t.same((await get(path, '/v1/pods/default/web/log?tailLines=1&timestamps')).body, '2026-01-02T03:04:06Z two\n')
  t.same((await get(path, '/v1/pods/default/web/log?limitBytes=5')).body, 'one\nt')
  t.match(await get(path, '/v1/pods/default/web/log?tailLines=-1'), { status: 400, body: { message: /^tailLines must be/ } })
  t.match(await get(path, '/v1/pods/default/web/log?previous=true'), { status: 404, body: { message: /^previous terminated/ } })
  t.match(await get(path, '/v1/pods/default/web/log?container=x'), { status: 404, body: { message: /it has c$/ } })
})

t.test('a followed log goes on until its container ends, and ends with its reader', async t => {
  const log = join(folder, 'logs', 'c', '0.log')
  await writeFile(log, '2026-01-02T03:04:05Z stdout F one\n')
  let pods: readonly Pod[] = [pod]
  const { path } = await build({ pods: () => pods })
  const response = await ask(path, '/v1/pods/default/web/log?follow=true')
  response.setEncoding('utf8')
  const parts = response[Symbol.asyncIterator]()
  t.equal((await parts.next()).value, 'one\n')
  await appendFile(log, '2026-01-02T03:04:06Z stdout F two\n')
  t.equal((await parts.next()).value, 'two\n')
  pods = []
  await appendFile(log, '2026-01-02T03:04:07Z stdout F three\n')
  t.equal((await parts.next()).value, 'three\n')
  t.ok((await parts.next()).done)
})

t.test('exec is a tunnel to the URL that the runtime named', async t => {
  const seen: string[] = []
  const runtime = createTcp(socket => {
    socket.once('data', data => {
      seen.push(data.toString())
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n')
      socket.on('data', data => socket.write(data))
    })
  })
  await new Promise<void>(resolve => runtime.listen(0, '127.0.0.1', resolve))
  t.teardown(() => runtime.close())
  const { port } = runtime.address() as AddressInfo
  const asked: object[] = []
  const cri = {
    exec: async (it: object) => {
      asked.push(it)
      return `http://127.0.0.1:${port}/exec/TOKEN`
    },
  }
  const { path } = await build({ cri })
  const socket = await new Promise<import('node:stream').Duplex>((resolve, reject) => {
    const headers = { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'v4.channel.k8s.io' }
    const target = '/v1/pods/default/web/exec?command=sh&command=-c&command=echo%20a&stdin=true&tty=true'
    const upgrade = request({ socketPath: path, path: target, method: 'POST', headers })
    upgrade.on('upgrade', (_, socket) => resolve(socket)).on('error', reject)
    upgrade.end()
  })
  socket.write('ping')
  t.equal(String(await new Promise(resolve => socket.once('data', resolve))), 'ping')
  socket.destroy()
  t.same(asked, [{ containerId: 'id', cmd: ['sh', '-c', 'echo a'], tty: true, stdin: true, stdout: true, stderr: false }])
  t.match(seen[0], /^POST \/exec\/TOKEN HTTP\/1\.1\r\nHost: 127\.0\.0\.1:\d+\r\n/)
  t.match(seen[0], /X-Stream-Protocol-Version: v4\.channel\.k8s\.io\r\n/)
})

t.test('an exec that cannot be is refused before the upgrade', async t => {
  const { path } = await build()
  const refused = (target: string) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { Connection: 'Upgrade', Upgrade: 'SPDY/3.1' }
      request({ socketPath: path, path: target, method: 'POST', headers }, resolve).on('error', reject).end()
    })
  const away = await refused('/v1/pods/default/web/exec?command=sh')
  t.equal(away.statusCode, 503)
  t.match(JSON.parse(await text(away)), { code: 'runtime-away', message: 'containerd does not answer' })
  t.equal((await refused('/v1/pods/default/web/exec')).statusCode, 400)
  t.equal((await refused('/v1/pods/default/none/exec?command=sh')).statusCode, 404)
  t.equal((await get(path, '/v1/pods/default/web/exec?command=sh')).status, 400)
})

t.test('the socket is for root only, and only one daemon has it', async t => {
  const { path, server } = await build()
  t.equal((await stat(path)).mode & 0o777, 0o600)
  t.equal((await stat(join(path, '..'))).mode & 0o777, 0o755)
  const view = {} as NodeView
  const second = createServer({
    path,
    view,
    cni: async () => '',
    cri: { exec: async () => '' },
    clock: systemClock,
    log: silentLog,
  })
  await t.rejects(second.listen(), { code: 'already-exists', message: /another nodelet daemon answers at/ })
  await server.close()
  await t.rejects(stat(path), { code: 'ENOENT' })
})

t.test('the socket that a killed daemon left behind is replaced, another file is not', async t => {
  const path = join(folder, 'stale.sock')
  const leave = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
  await systemExec.try([process.execPath, '-e', leave]).catch(() => undefined)
  t.ok((await stat(path)).isSocket())
  const deps = { view: {} as NodeView, cni: async () => '', cri: { exec: async () => '' }, clock: systemClock, log: silentLog }
  const server = createServer({ ...deps, path })
  await server.listen()
  t.equal((await get(path, '/healthz')).status, 200)
  await server.close()
  await writeFile(join(folder, 'file'), 'mine')
  await t.rejects(createServer({ ...deps, path: join(folder, 'file') }).listen(), { code: 'io', message: /is not a socket$/ })
})
