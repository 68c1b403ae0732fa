// `nodelet exec` from end to end: the command, the daemon's socket, and the streaming server of a real containerd.
// Also exec probes and exec hooks, which ask the same runtime without streams.
import { mkdir } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { runHook } from '../../agent/hooks.ts'
import { createServer } from '../../agent/server/server.ts'
import type { NodeView } from '../../agent/server/view.ts'
import type { PodSandboxConfig } from '../../api/cri/types.ts'
import type { Pod } from '../../api/types.ts'
import { run as exec, type Terminal } from '../../cli/exec.ts'
import { run as logs } from '../../cli/logs.ts'
import { systemClock } from '../../host/clock.ts'
import { silentLog } from '../../host/log.ts'
import { createAttempt } from '../../probes/attempt.ts'
import { createHttpSender } from '../../probes/http.ts'
import { createContainerd } from '../support/containerd.ts'
import { busyboxImage } from '../support/images.ts'

const containerd = await createContainerd({ images: [busyboxImage] })
t.teardown(() => containerd.close())
const { cri, dir, cgroupParent } = containerd

const sandboxConfig: PodSandboxConfig = {
  metadata: { name: 'web', namespace: 'default', uid: 'u', attempt: 0 },
  logDirectory: `${dir}/logs`,
  linux: { cgroupParent, securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } } },
}
await mkdir(`${dir}/logs/c`, { recursive: true })
const sandbox = await cri.runPodSandbox(sandboxConfig)
const containerId = await cri.createContainer(
  sandbox,
  {
    metadata: { name: 'c', attempt: 0 },
    image: { image: busyboxImage },
    command: ['sh', '-c', 'echo started; echo trouble >&2; exec sleep 600'],
    logPath: 'c/0.log',
  },
  sandboxConfig,
)
await cri.startContainer(containerId)

const container = { name: 'c', image: busyboxImage }
const running = { state: { running: { startedAt: '' } }, ready: true, restartCount: 0, image: '', imageID: '' }
const pod: Pod = {
  metadata: { name: 'web-n1', namespace: 'default', uid: 'u' },
  spec: { nodeName: 'n1', containers: [container] },
  status: { phase: 'Running', containerStatuses: [{ ...running, name: 'c', containerID: `containerd://${containerId}` }] },
}
const view: NodeView = {
  pods: () => [pod],
  gonePods: () => [],
  services: () => [],
  endpointSlices: () => [],
  node: () => ({ metadata: { name: 'n1' } }),
  problems: () => [],
  trace: async () => ({ text: '', body: {} }),
  diff: async () => ({ same: true, mode: 'nftables', compared: 0, differences: [] }),
  timeline: () => undefined,
  logFolder: () => `${dir}/logs`,
}
const socket = `${dir}/nodelet.sock`
const server = createServer({ path: socket, view, cni: async () => '', cri, clock: systemClock, log: silentLog })
await server.listen()
t.teardown(() => server.close())

/** The command with a terminal, or pipes, of the test's own. */
const call = async (argv: readonly string[], input?: string | Buffer, tty?: { columns: number; rows: number }) => {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()]
  const modes: boolean[] = []
  Object.assign(stdin, { isTTY: tty !== undefined, setRawMode: (mode: boolean) => modes.push(mode) })
  Object.assign(stdout, tty)
  if (input !== undefined) stdin.end(input)
  let [said, complained] = ['', '']
  const output = {
    out: (it: string | Uint8Array) => {
      said += Buffer.from(it as Uint8Array)
      return undefined
    },
    err: (it: string | Uint8Array) => {
      complained += it
    },
  }
  const reading = Promise.all([text(stdout), text(stderr)])
  const code = await exec(['--socket', socket, ...argv], output, { stdin, stdout, stderr } as unknown as Terminal)
  stdout.end()
  stderr.end()
  const [out, err] = await reading
  return { code, out: said + out, err: err + complained, modes, stdin }
}

t.test('a command is run, its output told apart, and its exit code is ours', async t => {
  const { code, out, err } = await call(['web', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3'])
  t.same({ code, out, err }, { code: 3, out: 'out\n', err: 'err\ncommand terminated with exit code 3\n' })
  t.match(await call(['web', '--', 'true']), { code: 0, out: '', err: '' })
})

t.test('input is passed on, and its end too', async t => {
  t.match(await call(['-i', 'web', '--', 'cat'], 'hello\n'), { code: 0, out: 'hello\n', err: '' })
  t.match(await call(['-i', 'web', '--', 'cat'], ''), { code: 0, out: '', err: '' })
})

t.test('many bytes come through whole, both ways', async t => {
  const input = Buffer.alloc(3_000_000, 'abcdefghij')
  const { code, out } = await call(['-i', 'web', '--', 'cat'], input)
  t.equal(code, 0)
  t.ok(out === input.toString(), `${out.length} bytes of ${input.length}`)
})

t.test('a terminal has a size, raw input and one output', async t => {
  const argv = ['-it', 'web', '--', 'sh', '-c', 'sleep 0.2; stty size; tty >&2']
  const { code, out, err, modes } = await call(argv, undefined, { columns: 101, rows: 33 })
  t.same({ code, out, err }, { code: 0, out: '33 101\r\n/dev/pts/0\r\n', err: '' })
  t.same(modes, [true, false], 'the terminal is given back')
})

t.test('without a terminal -t is refused with a word, and the command runs', async t => {
  const { code, out, err } = await call(['-it', 'web', '--', 'echo', 'a'], '')
  t.same({ code, out }, { code: 0, out: 'a\n' })
  t.match(err, /^Unable to use a TTY/)
})

t.test('a command that is not there is an error and no exit code', async t => {
  const { code, err } = await call(['web', '--', 'no-such-program'])
  t.equal(code, 1)
  t.match(err, /^error: .*no-such-program.*not found/s)
})

t.test('a command that is killed ends, and so does the connection', async t => {
  t.match(await call(['web', '--', 'sh', '-c', 'kill -9 $$']), { code: 137 })
})

t.test('the log of the container is read through the same socket', async t => {
  let shown = ''
  const output = {
    out: (it: string | Uint8Array) => {
      shown += Buffer.from(it as Uint8Array)
      return undefined
    },
    err: () => undefined,
  }
  t.equal(await logs(['--socket', socket, 'web'], output), 0)
  t.same(shown.split('\n').toSorted(), ['', 'started', 'trouble'])
})

t.test('an exec probe is answered by the exit code, and by the clock', async t => {
  const attempt = createAttempt({ cri, clock: systemClock })
  const asked = { container, containerId, podIPs: [] }
  const ask = (command: readonly string[]) =>
    attempt({ exec: { command }, timeoutSeconds: 1 }, asked, new AbortController().signal)
  t.match(await ask(['sh', '-c', 'echo fine']), { outcome: 'success', message: 'fine\n' })
  t.match(await ask(['sh', '-c', 'echo no; exit 1']), { outcome: 'failure', message: 'no\n' })
  t.match(await ask(['sleep', '5']), { outcome: 'failure', message: 'command timed out: "sleep 5" timed out after 1s' })
  t.match(await ask(['no-such-program']), { outcome: 'error', message: /no-such-program/ })
})

t.test('an exec hook runs in the container', async t => {
  const deps = { cri, clock: systemClock, log: silentLog, sendHttp: createHttpSender(systemClock) }
  const target = { pod, container, containerId, podIPs: [] }
  const hook = (command: readonly string[]) =>
    runHook({ exec: { command } }, target, deps, { timeoutSeconds: 10, signal: new AbortController().signal })
  await t.resolves(hook(['touch', '/tmp/hooked']))
  t.match(await call(['web', '--', 'ls', '/tmp/hooked']), { code: 0, out: '/tmp/hooked\n' })
  await t.rejects(hook(['false']), { code: 'hook', message: /exited with 1/ })
})
