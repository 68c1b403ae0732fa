// What the paths answer, over real TLS on loopback: lists, logs, commands, checkpoints, the files of /var/log, ports.
import { appendFile, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { systemClock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { createFakeNode, type FakeNode, webPod } from './node.fake.ts'

const admin = { token: 'admin' }
const ended: Pod = {
  ...webPod,
  status: {
    phase: 'Running',
    containerStatuses: [
      {
        ...{ name: 'c', ready: false, restartCount: 1, image: '', imageID: '' },
        state: { waiting: { reason: 'CrashLoopBackOff' } },
        lastState: { terminated: { exitCode: 1, containerID: 'containerd://id' } },
      },
    ],
  },
}

const line = (text: string, stream = 'stdout', second = 5) =>
  `2026-01-02T03:04:${String(second).padStart(2, '0')}.000000001Z ${stream} F ${text}\n`

/** The runtime as far as it tells where a log is: `LOGS/ID.log`. */
const withLogs = () => {
  const paths = new Map<string, string>()
  const containerStatus = async (id: string) => {
    const logPath = paths.get(id)
    if (logPath === undefined) throw new Fault('not-found', `container "${id}" not found`)
    return { status: { logPath }, info: {} } as never
  }
  return { paths, containerStatus }
}

const freePort = () =>
  new Promise<number>(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })

t.test('pods are listed with their live status, and as the runtime runs them', async t => {
  const node = await createFakeNode(t.teardown, {
    cri: {
      listPodSandbox: async () =>
        [
          {
            id: 's',
            labels: {
              'io.kubernetes.pod.name': 'web',
              'io.kubernetes.pod.namespace': 'default',
              'io.kubernetes.pod.uid': 'u',
            },
          },
        ] as never,
      listContainers: async () =>
        [
          { podSandboxId: 's', labels: { 'io.kubernetes.container.name': 'c' }, image: { image: 'i' } },
          { podSandboxId: 'other', labels: {}, image: null, metadata: { name: 'x' } },
        ] as never,
    },
  })
  const list = JSON.parse((await node.ask('/pods', admin)).body)
  t.match(list, { kind: 'PodList', apiVersion: 'v1', items: [{ metadata: { name: 'web' }, status: { phase: 'Running' } }] })
  node.pods = []
  t.same(JSON.parse((await node.ask('/pods', admin)).body).items, [], 'as it is now')
  t.match(JSON.parse((await node.ask('/runningpods/', admin)).body).items, [
    { metadata: { name: 'web', namespace: 'default', uid: 'u' }, spec: { containers: [{ name: 'c', image: 'i' }] } },
  ])
})

t.test('what is not there, and what is asked wrongly', async t => {
  const node = await createFakeNode(t.teardown, {
    more: { extra: { '/metrics': () => ({ status: 200, type: 'text/plain; version=0.0.4', body: 'up 1\n' }) } },
  })
  for (const [path, status, body, method = 'GET'] of [
    ['/', 404, '404: Page Not Found'],
    ['/toString', 404, '404: Page Not Found'],
    ['/pods/default', 404, '404: Page Not Found'],
    ['/pods', 405, '405: Method Not Allowed', 'POST'],
    ['/run/default/web/c', 405, '405: Method Not Allowed'],
    ['/logs/../exec', 400, 'Bad Request'],
    ['/containerLogs/default/none/c', 404, 'pod "none" does not exist'],
    ['/containerLogs/default/web/x', 404, 'container "x" not found in pod "web"'],
    ['/containerLogs/other/web/c', 404, 'pod "web" does not exist'],
    ['/containerLogs/default/web/c?previous=true', 400, 'previous terminated container "c" in pod "web" not found'],
    ['/containerLogs/default/web/c?tailLines=x', 400, '{"message": "Unable to decode query."}'],
    ['/containerLogs/default/web/c?tailLines=-1', 422, '{"message": "Invalid request."}'],
    ['/run/default/none/c?cmd=ls', 404, 'pod does not exist', 'POST'],
    ['/run/default/web/x?cmd=ls', 500, 'container not found ("x")', 'POST'],
    ['/run/default/web/other-uid/c?cmd=ls', 500, 'container not found ("c")', 'POST'],
    ['/run/default/web/c?cmd=ls', 500, 'containerd does not answer', 'POST'],
    ['/exec/default/web/c?command=ls', 400, 'you must specify at least 1 of stdin, stdout, stderr', 'POST'],
    ['/exec/default/none/c?output=1', 404, 'pod does not exist', 'POST'],
    ['/exec/default/web/c?output=1', 405, '405: Method Not Allowed', 'PUT'],
    ['/portForward/default/web/wrong', 404, 'pod not found', 'POST'],
    ['/checkpoint/default/web/x', 404, 'container x does not exist', 'POST'],
    ['/checkpoint/default/web/c?timeout=x', 404, 'cannot parse value of timeout parameter', 'POST'],
    ['/checkpoint/default/web/c', 500, 'checkpointing of default/web/c failed (containerd does not answer)', 'POST'],
    ['/debug/pprof/heap', 404, 'there are no profiles of Go here: this node agent is not a Go program\n'],
    ['/debug/other', 404, '404: Page Not Found'],
    ['/metrics', 200, 'up 1\n'],
    ['/metrics', 405, '405: Method Not Allowed', 'POST'],
    ['/metrics/other', 404, '404: Page Not Found'],
    ['/healthz', 200, 'ok'],
  ] as const) {
    const { status: given, body: said } = await node.ask(path, { ...admin, method })
    t.same([given, said], [status, body], `${method} ${path}`)
  }
  t.match(JSON.parse((await node.ask('/configz', admin)).body), { kubeletconfig: { kind: 'KubeletConfiguration' } })
})

t.test('a command is run and its output is the answer', async t => {
  const asked: unknown[] = []
  const node = await createFakeNode(t.teardown, {
    cri: {
      execSync: async (...it) => {
        asked.push(it)
        const fails = it[1][0] === 'false'
        return { exitCode: fails ? 1 : 0, stdout: Buffer.from('out\n'), stderr: Buffer.from('err\n') }
      },
    },
  })
  const post = { ...admin, method: 'POST' }
  t.match(await node.ask('/run/default/web/c?cmd=ls%20-l', post), { status: 200, body: 'out\nerr\n' })
  t.match(await node.ask('/run/default/web/uid-web/c?cmd=ls', post), { status: 200 })
  t.same(asked[0], ['id', ['ls', '-l'], 0])
  t.match(await node.ask('/run/default/web/c?cmd=false', post), { status: 500, body: "command 'false' exited with 1: err\n" })
  node.pods = [ended]
  t.match(await node.ask('/run/default/web/c?cmd=ls', post), { status: 500, body: 'container not found ("c")' })
})

t.test('a checkpoint is a file that the runtime has written', async t => {
  const asked: unknown[][] = []
  const node = await createFakeNode(t.teardown, {
    cri: { checkpointContainer: async (...it) => void asked.push(it) },
  })
  const { status, body } = await node.ask('/checkpoint/default/web/c?timeout=7', { ...admin, method: 'POST' })
  t.equal(status, 200)
  const [path] = JSON.parse(body).items
  t.match(path, /\/checkpoints\/checkpoint-web_default-c-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\.tar$/)
  t.same(asked, [['id', path, 7]])
})

t.test('logs are read with every option', async t => {
  const logs = withLogs()
  const node = await createFakeNode(t.teardown, { cri: logs })
  const path = join(node.folder, 'id.log')
  logs.paths.set('id', path)
  await writeFile(path, line('one', 'stdout', 5) + line('two', 'stderr', 6) + line('three', 'stdout', 7))
  const read = async (query: string) => (await node.ask(`/containerLogs/default/web/c?${query}`, admin)).body
  t.equal(await read(''), 'one\ntwo\nthree\n')
  t.equal(await read('tailLines=1'), 'three\n')
  t.equal(await read('tail=1'), 'three\n')
  t.equal(await read('tailLines=0'), '')
  t.equal(await read('limitBytes=5'), 'one\nt')
  t.equal(await read('stream=Stderr'), 'two\n')
  t.equal(await read('stream=Stdout&timestamps=true&sinceTime=2026-01-02T03:04:06Z'), '2026-01-02T03:04:07.000000001Z three\n')
  t.equal(await read('sinceSeconds=1'), '')
  t.equal(await read('follow=false'), 'one\ntwo\nthree\n')
  node.pods = [ended]
  t.equal(await read('previous=true'), 'one\ntwo\nthree\n')
  t.equal(await read('follow=true'), 'one\ntwo\nthree\n', 'following one that has ended ends')
})

t.test('the log of a container that the runtime has forgotten is found in the folder of its pod', async t => {
  const node = await createFakeNode(t.teardown)
  const at = '/containerLogs/default/web/c'
  t.match(await node.ask(at, admin), { status: 400, body: /is waiting to start/ })
  await mkdir(join(node.folder, 'logs', 'c'), { recursive: true })
  await writeFile(join(node.folder, 'logs', 'c', '0.log'), line('found'))
  t.match(await node.ask(at, admin), { status: 200, body: 'found\n' })
})

const followed = async (node: FakeNode, query = '') => {
  const response = await node.open(`/containerLogs/default/web/c?follow=true${query}`, admin)
  response.setEncoding('utf8')
  const parts = response[Symbol.asyncIterator]()
  return { response, next: async () => (await parts.next()).value as string | undefined }
}

t.test('a followed log answers at once, goes on over a rotation, and ends with its container', async t => {
  const logs = withLogs()
  const node = await createFakeNode(t.teardown, { cri: logs })
  const path = join(node.folder, 'id.log')
  logs.paths.set('id', path)
  await writeFile(path, '')
  const { response, next } = await followed(node)
  t.equal(response.statusCode, 200, 'before there is a line')
  await appendFile(path, line('one'))
  t.equal(await next(), 'one\n')
  await rename(path, `${path}.1`)
  await appendFile(`${path}.1`, line('two'))
  await writeFile(path, line('three'))
  let rest = ''
  while (!rest.includes('three')) rest += await next()
  t.equal(rest, 'two\nthree\n')
  node.pods = [ended]
  await appendFile(path, line('four'))
  t.equal(await next(), 'four\n')
  t.equal(await next(), undefined)
})

t.test('a client that goes away while following leaves nothing behind', async t => {
  const logs = withLogs()
  let timers = 0
  const clock = {
    ...systemClock,
    after: (ms: number, run: () => void) => {
      timers++
      const timer = systemClock.after(ms, () => {
        timers--
        run()
      })
      const cancel = () => {
        timers--
        timer.cancel()
      }
      return { cancel }
    },
  }
  const ends: string[] = []
  const node = await createFakeNode(t.teardown, {
    cri: logs,
    clock,
    more: {
      onRequest:
        ({ path }) =>
        () =>
          void ends.push(path),
    },
  })
  const path = join(node.folder, 'id.log')
  logs.paths.set('id', path)
  await writeFile(path, line('one'))
  const before = timers
  const clients = await Promise.all(Array.from({ length: 20 }, () => followed(node)))
  for (const { next } of clients) t.equal(await next(), 'one\n')
  const handles = () => process.getActiveResourcesInfo().filter(it => /FSEvent|FileHandle/.test(it)).length
  for (const { response } of clients) response.destroy()
  const deadline = Date.now() + 5000
  while ((ends.length < 20 || timers > before) && Date.now() < deadline) await new Promise(resolve => setTimeout(resolve, 5))
  t.equal(ends.length, 20)
  t.ok(timers <= before, 'no timer is left')
  while (handles() > 0 && Date.now() < deadline) await new Promise(resolve => setTimeout(resolve, 5))
  t.equal(handles(), 0, 'nor a watch or an open file')
})

t.test('a huge log is sent as it is read', async t => {
  const logs = withLogs()
  const node = await createFakeNode(t.teardown, { cri: logs })
  const path = join(node.folder, 'id.log')
  logs.paths.set('id', path)
  const block = Buffer.from(line('x'.repeat(1000)).repeat(1024))
  for (let i = 0; i < 64; i++) await appendFile(path, block)
  const response = await node.open('/containerLogs/default/web/c', admin)
  // A client that does not read: what it has been sent stops growing long before the end.
  let sent = -1
  while (sent !== response.socket.bytesRead) {
    sent = response.socket.bytesRead
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  t.ok(sent < 32 * 1024 * 1024, `${sent} bytes were sent to nobody`)
  let length = 0
  for await (const part of response) length += (part as Buffer).length
  t.equal(length, 64 * 1024 * 1001)
  t.equal((await node.ask('/containerLogs/default/web/c?tailLines=1', admin)).body.length, 1001)
})

t.test('the files of /var/log, and nothing beyond', async t => {
  const node = await createFakeNode(t.teardown)
  const root = join(node.folder, 'var-log')
  await mkdir(join(root, 'pods'), { recursive: true })
  await writeFile(join(node.folder, 'secret'), 'secret')
  await writeFile(join(root, 'sys & log'), 'hello')
  await writeFile(join(root, 'empty'), '')
  await symlink('../../secret', join(root, 'pods', 'out'))
  await symlink('/etc', join(root, 'etc'))
  await symlink('sys & log', join(root, 'inside'))
  const of = (path: string) => node.ask(path, admin)
  t.match(await of('/logs/'), {
    status: 200,
    headers: { 'content-type': 'text/html; charset=utf-8' },
    body: /<a href="pods\/">pods\/<\/a>\n<a href="sys%20%26%20log">sys &amp; log<\/a>/,
  })
  t.match(await of('/logs/sys%20%26%20log'), { status: 200, body: 'hello', headers: { 'content-length': '5' } })
  t.match(await of('/logs/inside'), { body: 'hello' })
  t.match(await of('/logs/empty'), { status: 200, body: '' })
  t.match(await of('/logs/pods'), { status: 301, headers: { location: 'pods/' } })
  for (const path of ['/logs/pods/out', '/logs/etc/passwd', '/logs/etc/', '/logs/none', '/logs/empty/'])
    t.match(await of(path), { status: 404 }, path)
  t.match(await of('/logs/%2e%2e/secret'), { status: 400 })
  await rm(root, { recursive: true })
  t.match(await of('/logs/'), { status: 404 })
  const off = await createFakeNode(t.teardown, { kubelet: { enableSystemLogHandler: false } })
  t.match(await off.ask('/logs/', admin), { status: 405, body: 'logs endpoint is disabled.\n' })
})

t.test('without debugging handlers there are health, pods and figures only', async t => {
  const node = await createFakeNode(t.teardown, { kubelet: { enableDebuggingHandlers: false } })
  for (const path of ['/run/a/b/c', '/exec/a/b/c', '/containerLogs/a/b/c', '/runningpods/', '/logs/', '/debug/pprof/x'])
    t.match(await node.ask(path, admin), { status: 405, body: 'Debug endpoints are disabled.\n' }, path)
  t.match(await node.ask('/exec/a/b/c', { ...admin, headers: { Connection: 'Upgrade', Upgrade: 'SPDY/3.1' } }), { status: 405 })
  t.match(await node.ask('/configz', admin), { status: 404 })
  t.match(await node.ask('/pods', admin), { status: 200 })
})

const plain = (port: number | undefined, path: string) =>
  new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
    get({ host: '127.0.0.1', port, path, agent: false }, async it => resolve({ status: it.statusCode, body: await text(it) })).on(
      'error',
      reject,
    )
  })

t.test('the read-only port and the health port ask nobody who they are, and have little', async t => {
  const [readOnlyPort, healthzPort] = [await freePort(), await freePort()]
  let wrong: string | undefined
  const node = await createFakeNode(t.teardown, {
    kubelet: { readOnlyPort, healthzPort },
    more: {
      syncLoop: () => wrong,
      extra: { '/stats/summary': ({ query }) => ({ status: 200, body: query.get('only_cpu_and_memory') ?? '' }) },
    },
  })
  t.match(node.ports, { readOnly: readOnlyPort, healthz: healthzPort })
  t.match(await plain(readOnlyPort, '/pods'), { status: 200 })
  t.match(await plain(readOnlyPort, '/stats/summary?only_cpu_and_memory=true'), { status: 200, body: 'true' })
  t.match(await plain(readOnlyPort, '/exec/default/web/c'), { status: 405, body: 'Debug endpoints are disabled.\n' })
  t.match(await plain(readOnlyPort, '/configz'), { status: 404 })
  t.match(await plain(healthzPort, '/healthz'), { status: 200, body: 'ok' })
  t.match(await plain(healthzPort, '/pods'), { status: 404 })
  wrong = 'sync Loop took longer than expected'
  t.match(await plain(healthzPort, '/healthz'), { status: 500, body: /\[-\]syncloop failed: reason withheld/ })
  await node.server.close()
  await t.rejects(plain(healthzPort, '/healthz'), { code: 'ECONNREFUSED' })
})

t.test('enableServer: false leaves the health port alone', async t => {
  const healthzPort = await freePort()
  const node = await createFakeNode(t.teardown, { kubelet: { enableServer: false, healthzPort, readOnlyPort: await freePort() } })
  t.same(node.ports, { healthz: healthzPort })
})

t.test('a port that somebody has is named', async t => {
  const other = createServer()
  await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve))
  t.teardown(() => other.close())
  const { port } = other.address() as { port: number }
  await t.rejects(createFakeNode(t.teardown, { kubelet: { port } }), {
    code: 'io',
    message: new RegExp(`^cannot listen on 127.0.0.1 port ${port}: .*EADDRINUSE`),
  })
})
