// Probes against real containers: what fails is restarted alone, what is not ready gets no traffic, and how soon.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { busyboxImage, webImage } from '../support/images.ts'
import { idle, podOf, script, service, web } from '../support/manifests.ts'
import { createNode, isReady, nodeIP, statusOf, waitingReason } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const node = await createNode({ containerd: { images: [busyboxImage, webImage] } })
t.setTimeout(0)
t.teardown(() => node.close())

const clear = async (name: string) => {
  await node.remove(`${name}.json`)
  await node.gone(name)
}

const fast = { periodSeconds: 1, failureThreshold: 1 }
const fileThere = { exec: { command: ['test', '-e', '/tmp/fine'] } }

/** The program of test/support/readiness-peer.ts in the node's namespace, asked line by line. */
const startPeer = async (...args: readonly string[]) => {
  const argv = node.netns.wrap([process.execPath, join(import.meta.dirname, '../support/readiness-peer.ts'), ...args])
  const child = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  await lines.next()
  return {
    ask: async (line: string) => {
      child.stdin.write(`${line}\n`)
      return Number((await lines.next()).value)
    },
    end: async () => {
      child.kill()
      await once(child, 'exit')
    },
  }
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

await t.test('what a readiness probe answers reaches connections through the Service within 50 ms, both ways', async t => {
  const clusterIP = '10.96.7.7'
  const peer = await startPeer(nodeIP, '9000', clusterIP, '80')
  t.teardown(() => peer.end())
  const readinessProbe = { httpGet: { path: '/', host: nodeIP, port: 9000 }, ...fast }
  const pod = podOf('flips', web({ readinessProbe }), {}, { labels: { app: 'flips' } })
  await node.write('flips.json', [pod, service('flips', [{ port: 80, targetPort: 'http' }], { clusterIP })])
  await node.until('flips', it => statusOf(it)?.state?.running)
  await peer.ask('ready')
  const out: number[] = []
  const back: number[] = []
  for (let round = 0; round < 5; round++) {
    out.push(await peer.ask('unready'))
    back.push(await peer.ask('ready'))
  }
  t.comment(`out of the Service: ${out.join(', ')} ms; back in: ${back.join(', ')} ms`)
  t.ok(median(out) < 50, `out after ${median(out)} ms`)
  t.ok(median(back) < 50, `back after ${median(back)} ms`)
  const after = await node.pod('flips')
  t.equal(after && statusOf(after)?.restartCount, 0, 'readiness restarts nothing')
  await clear('flips')
})

// Most of their time is waiting.
t.jobs = 4

t.test('a liveness failure restarts its container and no other', async t => {
  const probed = script('touch /tmp/fine; exec sleep infinity', { name: 'probed', livenessProbe: { ...fileThere, ...fast } })
  await node.write('live.json', podOf('live', [probed, idle({ name: 'other' })]))
  const before = await node.until('live', isReady)
  await node.exec('live', ['rm', '/tmp/fine'], 'probed')
  const after = await node.until('live', it => statusOf(it, 'probed')?.restartCount === 1 && isReady(it))
  t.equal(statusOf(after, 'other')?.containerID, statusOf(before, 'other')?.containerID)
  t.equal(statusOf(after, 'other')?.restartCount, 0)
  t.ok(statusOf(after, 'probed')?.lastState?.terminated)
  t.match(await node.log(), /Container probed failed liveness probe, will be restarted/)
  t.match((await node.cli(['why', 'live'])).stdout, /liveness probe probed .*failed: /)
  await clear('live')
})

t.test('liveness by TCP and by HTTP', async t => {
  const probes = [{ tcpSocket: { port: 'other' } }, { httpGet: { path: '/healthz', port: 'http' } }]
  const containers = probes.map((probe, index) =>
    web({
      name: `c${index}`,
      ports: [{ name: index === 0 ? 'other' : 'http', containerPort: 80 + index }],
      env: [{ name: 'PORT', value: String(80 + index) }],
      // Two: the first question may come before the server listens.
      livenessProbe: { ...probe, periodSeconds: 1, failureThreshold: 2 },
    }),
  )
  await node.write('nets.json', podOf('nets', containers))
  await node.until('nets', isReady)
  await node.exec('nets', ['rm', '/www/healthz'], 'c1')
  const after = await node.until('nets', it => statusOf(it, 'c1')?.restartCount === 1 && isReady(it))
  t.equal(statusOf(after, 'c0')?.restartCount, 0)
  await node.exec(
    'nets',
    ['sh', '-c', 'for it in /proc/[0-9]*; do grep -qx httpd $it/comm && kill -STOP ${it#/proc/}; done; true'],
    'c1',
  )
  await node.until('nets', it => statusOf(it, 'c1')?.state?.waiting ?? statusOf(it, 'c1')?.state?.terminated, 15_000)
  t.match((await node.messages()).join('\n'), /Liveness probe failed: Get .*(Client.Timeout|deadline) exceeded/)
  await clear('nets')
})

t.test('a startup probe holds the others back; a container that never starts is restarted', async t => {
  const container = idle({
    startupProbe: { ...fileThere, periodSeconds: 1, failureThreshold: 30 },
    readinessProbe: { exec: { command: ['true'] }, periodSeconds: 1 },
    livenessProbe: { ...fileThere, ...fast },
  })
  const never = idle({ startupProbe: { ...fileThere, periodSeconds: 1, failureThreshold: 2 } })
  await node.write('starts.json', [podOf('starts', container), podOf('never', never)])
  await node.until('never', it => statusOf(it)?.restartCount === 1)
  t.match(await node.log(), /Container c failed startup probe, will be restarted/)
  const waiting = await node.pod('starts')
  t.match(waiting && statusOf(waiting), { started: false, ready: false, restartCount: 0 }, 'liveness has not been asked')
  t.match((await node.cli(['get', 'pods', 'starts'])).stdout, /0\/1 +Running +0 /)
  await node.exec('starts', ['touch', '/tmp/fine'])
  const pod = await node.until('starts', isReady)
  t.match(statusOf(pod), { started: true, restartCount: 0 })
  await node.remove('starts.json')
  await Promise.all([node.gone('starts'), node.gone('never')])
})

t.test('a probe against a port that nobody serves says so, and its container is not ready', async t => {
  const readinessProbe = { httpGet: { path: '/', port: 9999 }, ...fast }
  await node.write('nobody.json', podOf('nobody', idle({ readinessProbe })))
  await waitFor('the failure', async () => (await node.log()).includes('Readiness probe failed'))
  const pod = await node.until('nobody', it => statusOf(it)?.state?.running)
  t.notOk(isReady(pod))
  t.match(
    pod.status?.conditions?.find(it => it.type === 'Ready'),
    {
      ...{ status: 'False', reason: 'ContainersNotReady', message: 'containers with unready status: [c]' },
    },
  )
  const said = /Readiness probe failed: Get "http:\/\/10\.244\.0\.\d+:9999\/": .*connection refused/
  t.match((await node.messages()).join('\n'), said)
  t.match((await node.cli(['why', 'nobody'])).stdout, /readiness probe c .*failed: Get .*connection refused/)
  await clear('nobody')
})

t.test('liveness against a port that nobody serves restarts again and again, with growing pauses', async t => {
  const livenessProbe = { tcpSocket: { port: 9999 }, ...fast }
  await node.write('loop.json', podOf('loop', idle({ livenessProbe })))
  const pod = await node.until('loop', it => waitingReason(it) === 'CrashLoopBackOff', 20_000)
  t.ok((statusOf(pod)?.restartCount ?? 0) >= 1)
  await clear('loop')
})
