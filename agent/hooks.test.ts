import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { LifecycleHandler, Pod } from '../api/types.ts'
import { fakeClock } from '../host/clock.fake.ts'
import { systemClock } from '../host/clock.ts'
import { Fault } from '../host/fault.ts'
import { silentLog } from '../host/log.ts'
import { createHttpSender } from '../probes/http.ts'
import { runHook } from './hooks.ts'

const container = { name: 'c', image: 'i' }
const pod: Pod = { metadata: { name: 'p', namespace: 'ns', uid: 'u' }, spec: { containers: [container] } }
const target = { pod, container, containerId: 'id', podIPs: ['127.0.0.1'] }
const never = new AbortController().signal
const forever = () => new Promise<never>(() => undefined)
const exited =
  (exitCode: number, stdout = '') =>
  async () => ({ exitCode, stdout: Buffer.from(stdout), stderr: Buffer.alloc(0) })
const deps = (execSync: Parameters<typeof runHook>[2]['cri']['execSync'] = forever, clock = systemClock) => ({
  cri: { execSync },
  clock,
  log: silentLog,
  sendHttp: createHttpSender(clock),
})

const exec: LifecycleHandler = { exec: { command: ['sh', '-c', 'x'] } }

t.test('a command that exits 0 is a hook that ran', async t => {
  await t.resolves(runHook(exec, target, deps(exited(0)), { signal: never }))
})

t.test('one that does not is a fault with its output, in the words of the kubelet', async t => {
  await t.rejects(runHook(exec, target, deps(exited(3, 'oh no')), { signal: never }), {
    code: 'hook',
    message:
      'Exec lifecycle hook ([sh -c x]) for Container "c" in Pod "p_ns(u)" failed - error: command \'sh -c x\' exited with 3: oh no, message: "oh no"',
  })
})

t.test('a runtime that cannot run it is told', async t => {
  const away = () => Promise.reject(new Fault('runtime-away', 'no answer'))
  await t.rejects(runHook(exec, target, deps(away), { signal: never }), { code: 'hook', message: /failed - error: no answer$/ })
})

t.test('a hook that hangs ends with its time, and with its signal', async t => {
  const clock = fakeClock()
  const late = t.rejects(runHook(exec, target, deps(forever, clock), { timeoutSeconds: 5, signal: never }), {
    code: 'hook',
    message: /not completed within 5s$/,
  })
  await clock.advance(5000)
  await late
  const stop = new AbortController()
  const stopped = t.rejects(runHook(exec, target, deps(), { signal: stop.signal }), {
    message: /stopped before it had finished$/,
  })
  stop.abort()
  await stopped
})

t.test('a sleep lasts as long as it says', async t => {
  const clock = fakeClock()
  const started = clock.now()
  let ended = 0
  const done = runHook({ sleep: { seconds: 3 } }, target, deps(forever, clock), { signal: never }).then(() => {
    ended = clock.now()
  })
  await clock.advance(10_000)
  await done
  t.ok(ended >= started + 3000)
})

t.test('an HTTP hook counts as run whatever the answer is', async t => {
  const agents: (string | undefined)[] = []
  const server = createServer((request, response) => {
    agents.push(request.headers['user-agent'])
    response.writeHead(500).end()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  await t.resolves(runHook({ httpGet: { port, path: '/stop' } }, target, deps(), { signal: never }))
  await t.resolves(runHook({ httpGet: { port, scheme: 'HTTPS' } }, target, deps(), { signal: never }), 'HTTPS answered in HTTP')
  t.same(agents, ['kube-lifecycle/1.36', 'kube-lifecycle/1.36'])
  await t.rejects(runHook({ httpGet: { port: 1, path: '/x' } }, target, deps(), { signal: never }), {
    message: /^HTTP lifecycle hook \(\/x\) for Container "c" .* connection refused$/,
  })
  const homeless = { ...target, podIPs: [] }
  await t.rejects(runHook({ httpGet: { port } }, homeless, deps(), { signal: never }), { message: /the pod has no address$/ })
})

t.test('tcpSocket and a hook without any action are refused', async t => {
  await t.rejects(runHook({ tcpSocket: { port: 1 } }, target, deps(), { signal: never }), {
    message: /tcpSocket is not supported/,
  })
  await t.rejects(runHook({}, target, deps(), { signal: never }), { message: /it has no action/ })
})
