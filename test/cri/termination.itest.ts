// How pods end: hooks, signals, grace periods, and what happens to whoever asks for something else meanwhile.
// Containers write what happens to them into a file of the host; its lines are the order.
import { mkdir, readFile } from 'node:fs/promises'
import t from 'tap'
import { busyboxImage, peculiarImage, webImage } from '../support/images.ts'
import { bareScript, idle, podOf, script, service, web } from '../support/manifests.ts'
import { createNode, isReady, statusOf, waitingReason } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const node = await createNode({ containerd: { images: [busyboxImage, peculiarImage, webImage] } })
t.setTimeout(0)
// Most of their time is waiting.
t.jobs = 4
t.teardown(() => node.close())

const chronicle = async (name: string) => {
  const path = `${node.dir}/told-${name}`
  await mkdir(path, { mode: 0o777 })
  const volumes = [{ name: 'told', hostPath: { path } }]
  const told = { volumeMounts: [{ name: 'told', mountPath: '/told' }], securityContext: { runAsUser: 0 } }
  return { volumes, told, lines: async () => (await readFile(`${path}/lines`, 'utf8')).trim().split('\n') }
}
const tell = (what: string) => `echo ${what} >> /told/lines`
const trap = (signal: string, what: string) => `trap '${tell(what)}; exit 0' ${signal}; while :; do sleep 0.02; done`

/** Removes the manifest and tells how long the pod took to go. */
const timeToEnd = async (file: string, pod: string) => {
  const started = performance.now()
  await node.remove(file)
  await node.gone(pod)
  return performance.now() - started
}

t.test('preStop runs before the signal, and both count against the grace period', async t => {
  const { volumes, told, lines } = await chronicle('hook')
  const lifecycle = { preStop: { exec: { command: ['sh', '-c', `sleep 0.5; ${tell('hook')}`] } } }
  const container = bareScript(trap('TERM', 'signal'), { ...told, lifecycle })
  await node.write('hook.json', podOf('hook', container, { volumes, terminationGracePeriodSeconds: 10 }))
  await node.until('hook', isReady)
  const ms = await timeToEnd('hook.json', 'hook')
  t.same(await lines(), ['hook', 'signal'])
  t.ok(ms > 500 && ms < 8000, `${Math.round(ms)} ms`)
})

t.test('preStop by HTTP and by sleep', async t => {
  const { volumes, told, lines } = await chronicle('http')
  const serving = `{ while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\n' | nc -l -p 8080 | grep -m1 GET >> /told/lines; done; } & ${trap('TERM', 'signal')}`
  const http = bareScript(serving, { ...told, name: 'http', lifecycle: { preStop: { httpGet: { path: '/bye', port: 8080 } } } })
  const slow = bareScript('exec sleep 1000', { name: 'slow', lifecycle: { preStop: { sleep: { seconds: 1 } } } })
  await node.write('http.json', podOf('http', [http, slow], { volumes, terminationGracePeriodSeconds: 2 }))
  await node.until('http', isReady)
  const ms = await timeToEnd('http.json', 'http')
  t.match(await lines(), [/^GET \/bye HTTP/, 'signal'])
  t.ok(ms > 1000, `${Math.round(ms)} ms`)
})

t.test('what ignores the signal is killed when the grace period is over', async t => {
  await node.write(
    'deaf.json',
    podOf('deaf', bareScript("trap '' TERM; while :; do sleep 0.1; done"), { terminationGracePeriodSeconds: 2 }),
  )
  await node.until('deaf', isReady)
  const ms = await timeToEnd('deaf.json', 'deaf')
  t.ok(ms > 1900 && ms < 8000, `${Math.round(ms)} ms`)
})

t.test("the image's stop signal, and the container's own before it", async t => {
  const { volumes, told, lines } = await chronicle('signal')
  const traps = `trap '${tell('USR1')}; exit 0' USR1; trap '${tell('USR2')}; exit 0' USR2; while :; do sleep 0.02; done`
  await node.write('signal.json', podOf('signal', bareScript(traps, { ...told, image: peculiarImage }), { volumes }))
  await node.until('signal', isReady)
  await timeToEnd('signal.json', 'signal')
  t.same(await lines(), ['USR1'])
})

t.test('a pod that ends leaves its Services at once, and finishes what it has begun', async t => {
  const container = web({ lifecycle: { preStop: { sleep: { seconds: 4 } } } })
  const of = (name: string) => podOf(name, container, { terminationGracePeriodSeconds: 10 }, { labels: { app: 'leaves' } })
  await node.write('leaves-svc.json', service('leaves', [{ port: 80 }], { clusterIP: '10.96.5.5' }))
  await node.write('leaves.json', of('leaves'))
  await node.write('stays.json', of('stays'))
  const [{ status }] = await Promise.all([node.until('leaves', isReady), node.until('stays', isReady)])
  const ask = (count: number) => Promise.all(Array.from({ length: count }, () => node.curl('http://10.96.5.5/')))
  await waitFor('both to answer', async () => new Set(await ask(8)).size === 2)
  await node.remove('leaves.json')
  await node.until('leaves', it => it.metadata.deletionTimestamp)
  await new Promise(resolve => setTimeout(resolve, 100))
  t.same(new Set(await ask(16)), new Set(['stays-n1']))
  t.equal(await node.curl(`http://${status?.podIP}/`), 'leaves-n1', 'the pod itself still serves')
  t.match((await node.cli(['get', 'pods', 'leaves'])).stdout, /Terminating/)
  await node.remove('stays.json')
  await node.until('stays', it => it.metadata.deletionTimestamp)
  t.match(await ask(4), [/n1/], 'with none but terminating ones left, those that still serve are asked')
  await Promise.all([node.gone('leaves'), node.gone('stays')])
  await node.remove('leaves-svc.json')
})

t.test('postStart runs beside the container; the pod is not ready before it is done', async t => {
  const { volumes, told, lines } = await chronicle('post')
  const lifecycle = { postStart: { exec: { command: ['sh', '-c', `sleep 0.5; ${tell('hook done')}`] } } }
  await node.write(
    'post.json',
    podOf('post', script(`${tell('main')}; exec sleep infinity`, { ...told, lifecycle }), { volumes }),
  )
  await node.until('post', isReady)
  t.same(await lines(), ['main', 'hook done'])
  await timeToEnd('post.json', 'post')
})

t.test('a postStart hook that fails ends its container, which is tried again', async t => {
  const lifecycle = { postStart: { exec: { command: ['sh', '-c', 'echo no luck >&2; exit 3'] } } }
  await node.write('fails.json', podOf('fails', [idle({ lifecycle }), idle({ name: 'other' })]))
  await node.until('fails', it => waitingReason(it, 'c') === 'PostStartHookError')
  const pod = await node.until(
    'fails',
    it => statusOf(it, 'c')?.restartCount === 1 && waitingReason(it, 'c') === 'CrashLoopBackOff',
  )
  t.ok(statusOf(pod, 'c')?.lastState?.terminated)
  t.equal(statusOf(pod, 'other')?.restartCount, 0)
  t.match((await node.messages()).join('\n'), /no luck/)
  await timeToEnd('fails.json', 'fails')
})

t.test('a manifest that changes while its pod terminates: the old one ends first, the newest starts then', async t => {
  const { volumes, told, lines } = await chronicle('change')
  const version = (name: string) =>
    podOf(
      'change',
      bareScript(
        `${tell(`${name} runs`)}; trap 'sleep 1; ${tell(`${name} ends`)}; exit 0' TERM; while :; do sleep 0.02; done`,
        told,
      ),
      {
        ...{ volumes, terminationGracePeriodSeconds: 10 },
      },
    )
  await node.write('change.json', version('first'))
  const first = await node.until('change', isReady)
  await node.write('change.json', version('second'))
  await node.until('change', it => it.metadata.deletionTimestamp)
  await node.write('change.json', version('third'))
  const third = await node.until('change', it => it.metadata.uid !== first.metadata.uid && isReady(it))
  t.same(await lines(), ['first runs', 'first ends', 'third runs'])
  t.match(statusOf(third), { restartCount: 0 })
  await node.remove('change.json')
  await node.until('change', it => it.metadata.deletionTimestamp)
  await node.write('change.json', version('third'))
  const again = await node.until(
    'change',
    it => isReady(it) && it.metadata.deletionTimestamp === undefined && it.status?.startTime !== third.status?.startTime,
  )
  t.same((await lines()).slice(3), ['third ends', 'third runs'])
  t.equal(again.metadata.uid, third.metadata.uid)
  await timeToEnd('change.json', 'change')
})
