// The command line against a node: what get, logs, exec and why print of pods that run, fail, wait and are gone, trace
// and diff of Services.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { parse as parseYaml } from 'yaml'
import { bareScript, idle, podOf, service } from '../support/manifests.ts'
import { createNode, isReady, nodeIP, nodeName, statusOf } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const node = await createNode()
t.setTimeout(0)
t.teardown(() => node.close())

const program = join(import.meta.dirname, '../../bin/nodelet')
const talk = 'echo one; echo two >&2; echo three; exec sleep infinity'
const crash = 'echo "life $(cat /data/n 2>/dev/null)"; echo x >> /data/n; sleep 0.2; exit 1'
await node.write('pods.json', [
  podOf('talks', [bareScript(talk, { name: 'main' }), bareScript('echo beside; exec sleep infinity', { name: 'side' })]),
  podOf('dies', bareScript(crash, { volumeMounts: [{ name: 'data', mountPath: '/data' }] }), {
    volumes: [{ name: 'data', emptyDir: {} }],
  }),
  podOf('other', idle(), {}, { namespace: 'elsewhere' }),
  service('web', [{ port: 80 }]),
])
await Promise.all([node.until('talks', isReady), node.until('dies', it => (statusOf(it)?.restartCount ?? 0) >= 1)])

const out = async (...argv: readonly string[]) => {
  const { exitCode, stdout, stderr } = await node.cli(argv)
  if (exitCode !== 0) throw new Error(`${argv.join(' ')}: ${exitCode}: ${stderr}`)
  return stdout
}
const failure = async (...argv: readonly string[]) => {
  const { exitCode, stdout, stderr } = await node.cli(argv)
  return { exitCode, stdout, stderr }
}

t.test('get in its forms', async t => {
  const pod = await node.pod('talks')
  t.match(await out('get', 'pods'), /^NAME +READY +STATUS +RESTARTS +AGE\n(.*\n)*talks-n1 +2\/2 +Running +0 +\d+s$/m)
  t.notMatch(await out('get', 'pods'), /other/)
  t.match(await out('get', 'pods', '-A'), /^elsewhere +other-n1 +1\/1 +Running/m)
  t.match(await out('get', 'pods', '-n', 'elsewhere', '-o', 'name'), /^pod\/other-n1$/)
  t.match(await out('get', 'pods', 'talks', '-o', 'wide'), new RegExp(`${pod?.status?.podIP} +${nodeName} `))
  t.match(JSON.parse(await out('get', 'pods', 'talks', '-o', 'json')), {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'talks-n1' },
  })
  t.match(parseYaml(await out('get', 'pod/talks', '-o', 'yaml')), { kind: 'Pod', spec: { nodeName } })
  t.equal((JSON.parse(await out('get', 'pods', '-A', '-o', 'json')) as { items: unknown[] }).items.length, 3)
  t.match(await out('get', 'services', '-o', 'wide'), /^web +ClusterIP +10\.96\.\S+ +<none> +80\/TCP +\S+ +app=web$/m)
  t.match(await out('get', 'node', '-o', 'wide'), new RegExp(`^n1 +Ready .* ${nodeIP} .*containerd://`, 'm'))
  const shown = JSON.parse(await out('get', 'node', '-o', 'json'))
  t.match(shown, { kind: 'Node', metadata: { name: nodeName }, status: { capacity: { pods: '110' } } })
})

t.test('trace and diff', async t => {
  const traced = await out('trace', 'web', '--from', 'talks')
  const { podIP } = (await node.pod('talks'))?.status ?? {}
  t.match(traced, new RegExp(`^default/web from pod default/talks-n1 \\(${podIP}\\)\n`))
  t.match(
    traced,
    /\ncluster IP 10\.96\.\S+:80\/TCP\n {2}policy: internalTrafficPolicy Cluster\n {2}from pods: +REJECTED: there is no endpoint\n/,
  )
  t.match(traced, /\n {4}there +no-endpoint-ips\S* \{ 10\.96\.\S+ \. tcp \. 80 : goto reject-it\S* \}\n/)
  t.match(traced, /\n {2}verdict: table ip nodelet-proxy holds what it should$/)
  t.match(JSON.parse(await out('trace', 'web', '-o', 'json')), { service: 'default/web', frontends: [{ verdict: 'same' }] })
  t.match(await failure('trace', 'wbe'), { exitCode: 1, stderr: /service "default\/wbe" not found; there is / })
  t.match(await failure('trace', 'web', '--from', 'talk'), { exitCode: 1, stderr: /talks-n1/ })
  t.match(await out('diff'), /^The kernel holds what it should: \d+ pieces compared \(nftables\)\.$/)
})

t.test('what is not there or not understood', async t => {
  t.match(await failure('get', 'pods', 'talk'), { exitCode: 1, stderr: /pods "talk" not found .*talks-n1/ })
  t.match(await failure('get', 'things'), { exitCode: 2, stderr: /nothing called "things"/ })
  t.match(await failure('logs', 'talks', '-c', 'none'), { exitCode: 1, stderr: /container none is not valid .* main, side/ })
  t.match(await failure('exec', 'dies', '-c', 'x', '--', 'true'), { exitCode: 1, stderr: /container x is not valid/ })
  t.match(await failure('logs', '-p', 'talks'), { exitCode: 1, stderr: /previous terminated container "main" .* not found/ })
})

t.test('logs: all, the end of them, of one container, of the one before', async t => {
  const lines = (await out('logs', 'talks')).split('\n')
  t.same(lines.toSorted(), ['one', 'three', 'two'])
  // The runtime reads the two streams of a container each by itself: which of two lines came last is its to say.
  const last = lines.at(-1) ?? ''
  t.equal(await out('logs', '--tail', '1', 'talks'), last)
  t.equal(await out('logs', 'talks', '-c', 'side'), 'beside')
  t.match(
    await out('logs', '--timestamps', '--tail=1', 'talks'),
    new RegExp(`^\\d{4}-\\d\\d-\\d\\dT[\\d:.]+(Z|[+-]\\d\\d:\\d\\d) ${last}$`),
  )
  await node.until('dies', it => statusOf(it)?.state?.waiting?.reason === 'CrashLoopBackOff')
  t.match(await out('logs', '-p', 'dies'), /^life/)
})

t.test('logs -f goes on until its container ends', async t => {
  await node.write(
    'counts.json',
    podOf('counts', bareScript('i=0; while [ $i -lt 8 ]; do echo line $i; i=$((i+1)); sleep 0.2; done'), {
      restartPolicy: 'Never',
    }),
  )
  await node.until('counts', it => statusOf(it)?.state?.running)
  const child = spawn(program, ['logs', '--socket', node.socket, '-f', 'counts'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines: string[] = []
  createInterface(child.stdout).on('line', line => lines.push(line))
  await waitFor('the first lines', () => lines.length >= 2)
  t.ok(lines.length < 8, 'they come as they are written')
  const [code] = (await once(child, 'exit')) as [number]
  t.equal(code, 0)
  t.same(
    lines,
    Array.from({ length: 8 }, (_, i) => `line ${i}`),
  )
  await node.remove('counts.json')
  await node.gone('counts')
})

t.test('exec runs a command, passes input on and its exit code back', async t => {
  t.equal(await out('exec', 'talks', '--', 'hostname'), 'talks-n1')
  t.match(await failure('exec', 'talks', '-c', 'side', '--', 'sh', '-c', 'echo to stderr >&2; exit 7'), {
    exitCode: 7,
    stderr: /^to stderr/,
  })
  t.match(await node.cli(['exec', '-i', 'talks', '--', 'cat'], 'through and back'), { exitCode: 0, stdout: 'through and back' })
  t.match(await failure('exec', 'dies', '--', 'true'), { exitCode: 1, stderr: /does not run \(CrashLoopBackOff\)/ })
})

t.test('why: every stage with its time, what it waits for, and what it was after it has gone', async t => {
  const text = await out('why', 'talks')
  t.match(text, /^default\/talks-n1: Running, ready$/m)
  for (const stage of [
    'seen',
    'admitted',
    'volumes',
    'sandbox',
    'cni',
    'image main',
    'create main',
    'start main',
    'start side',
    'ready',
  ])
    t.match(text, new RegExp(`^ +\\+[\\d.]+ m?s +${stage}\\b`, 'm'), stage)
  t.match(await out('why', 'dies'), /dies.*: Running, not ready[\s\S]*Waits for: container c: CrashLoopBackOff/)
  t.match(JSON.parse(await out('why', '-o', 'json', 'talks')), { spans: [{ stage: 'seen' }, { stage: 'admitted' }] })
  await node.remove('pods.json')
  await node.gone('talks')
  t.match(await out('why', 'talks'), /^default\/talks-n1: gone from this node$/m)
  t.match(await failure('get', 'pods'), { exitCode: 0, stderr: /No resources found in default namespace\./ })
})

t.test('without a daemon the commands say how to get one', async t => {
  await node.stop()
  t.match(await failure('get', 'pods'), { exitCode: 1, stderr: /no nodelet daemon answers at .*nodelet\.sock: start one with/ })
  await node.start()
})
