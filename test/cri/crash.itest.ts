// Everything but the daemon dies: containerd, containers, pause processes, both programs, the whole machine. Afterwards what should run
// runs, what ran on was left alone, and nothing is left of what died.
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Pod } from '../../api/types.ts'
import { systemExec } from '../../host/exec.ts'
import { streamLog, trafficPod } from '../support/callers.ts'
import { removeCgroups, unmountBelow } from '../support/clean.ts'
import { busyboxImage } from '../support/images.ts'
import { configMap, podOf, script, service } from '../support/manifests.ts'
import { addUplink, createNode, isReady, nodeIP, statusOf } from '../support/node.ts'
import { expectedOf, holdingsOf } from '../support/node-traces.ts'
import { endProcess, processIds } from '../support/processes.ts'
import { waitFor } from '../support/wait.ts'

t.setTimeout(0)
const node = await createNode({ containerd: { images: [busyboxImage] } })
t.teardown(() => node.close())
const { netns, containerd } = node

const web = (name: string, hostPort: number) => [
  configMap(`page-${name}`, { 'index.html': name }),
  podOf(
    name,
    script('exec httpd -f -p 80 -h /www', {
      ports: [{ containerPort: 80, hostPort }],
      volumeMounts: [
        { name: 'page', mountPath: '/www' },
        { name: 'scratch', mountPath: '/scratch' },
      ],
      readinessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 1 },
    }),
    {
      initContainers: [script('true', { name: 'first' })],
      volumes: [
        { name: 'page', configMap: { name: `page-${name}` } },
        { name: 'scratch', emptyDir: { medium: 'Memory' } },
      ],
    },
    { labels: { app: name }, annotations: { 'kubernetes.io/egress-bandwidth': '100M' } },
  ),
  service(name, [{ port: 80 }], { clusterIP: `10.96.1.${hostPort - 18_000}` }),
]

await node.write('echo.json', [
  podOf('echo', [], await trafficPod(['serve', '7000'], 7000), { labels: { app: 'echo' } }),
  service('echo', [{ port: 7, targetPort: 7000 }], { clusterIP: '10.96.0.77' }),
])
await node.write('web.json', web('web', 18_001))
for (const name of ['echo', 'web']) await node.until(name, isReady)
await node.write('streamer.json', podOf('streamer', [], await trafficPod(['stream', '10.96.0.77', '7'])))
const streamer = await node.until('streamer', isReady)
await waitFor('a stream between pods', async () => (await streamLog(node.podLogs, streamer)).includes('connected'))

const pods = () => node.list<Pod>('/v1/pods')
/** Which containers run, by pod and name. */
const running = async () =>
  (await containerd.cri.listContainers())
    .filter(it => it.state === 'CONTAINER_RUNNING')
    .map(it => `${it.labels['io.kubernetes.pod.name']} ${it.metadata.name} ${it.metadata.attempt} ${it.id}`)
    .sort()
const answers = async () =>
  (
    await Promise.all(
      [`http://10.96.1.1/`, `http://${nodeIP}:18001/`].map(url => node.curl(url, '--max-time', '1').catch(String)),
    )
  ).join()

/** Waits until these pods and no others are ready, and checks that nothing else is there. */
const settlesAs = async (t: Test, ...names: readonly string[]) => {
  const wanted = names.map(name => `${name}-n1`).sort()
  const settled = await waitFor(
    `${wanted.join()} to be ready`,
    async () => {
      const all = await pods()
      return all
        .map(pod => pod.metadata.name)
        .sort()
        .join() === wanted.join() && all.every(isReady)
        ? all
        : undefined
    },
    30_000,
  )
  const isClean = async () => JSON.stringify(await holdingsOf(node)) === JSON.stringify(await expectedOf(node, settled))
  await waitFor('nothing else to be left', isClean, 15_000).catch(() => undefined)
  const [holdings, expected] = [await holdingsOf(node), await expectedOf(node, settled)]
  for (const [kind, list] of Object.entries(expected)) t.same(holdings[kind], list, kind)
  await waitFor('answers', async () => (await answers()) === 'web,web', 5_000).catch(() => undefined)
  t.equal(await answers(), 'web,web', 'ClusterIP and hostPort answer')
  return settled
}

const pidsOf = async (pod: Pod, id: string): Promise<readonly number[]> => {
  const found = await systemExec.run([
    'find',
    '/sys/fs/cgroup/memory' + containerd.cgroupParent,
    '-path',
    `*pod${pod.metadata.uid}/${id}/cgroup.procs`,
  ])
  const pids = await Promise.all(
    found.stdout
      .split('\n')
      .filter(Boolean)
      .map(file => readFile(file, 'utf8')),
  )
  return pids.join('\n').split('\n').filter(Boolean).map(Number)
}
const containerIdOf = (pod: Pod) => statusOf(pod)?.containerID?.replace('containerd://', '') ?? ''
const streamIsFine = async (t: Test) =>
  t.notMatch(await streamLog(node.podLogs, streamer), /dropped|closed|no echo/, 'a connection through a Service went on')

t.test('containerd is killed under a running daemon', async t => {
  const before = await running()
  await containerd.kill()
  t.equal(await answers(), 'web,web', 'pods work without it')
  // What is asked of it meanwhile is done when it is back.
  await node.write('late.json', podOf('late', script('exec sleep infinity')))
  await new Promise(resolve => setTimeout(resolve, 1_500))
  t.ok((await pods()).filter(pod => pod.metadata.name !== 'late-n1').every(isReady), 'their status does not turn')
  await containerd.start()
  await node.until('late', isReady)
  await node.remove('late.json')
  await settlesAs(t, 'echo', 'web', 'streamer')
  t.same(await running(), before, 'no container was restarted')
  await streamIsFine(t)
})

t.test('containerd and the daemon are killed, a manifest changes, both come back', async t => {
  for (const first of ['containerd', 'daemon'] as const) {
    const before = await running()
    await node.kill9()
    await containerd.kill()
    await node.write('late.json', podOf('late', script('exec sleep infinity')))
    if (first === 'containerd') await containerd.start()
    const starting = node.start()
    await new Promise(resolve => setTimeout(resolve, 700))
    if (first === 'daemon') await containerd.start()
    await starting
    await settlesAs(t, 'echo', 'web', 'streamer', 'late')
    t.same(
      (await running()).filter(line => !line.startsWith('late')),
      before,
      `no container was restarted, ${first} first`,
    )
    await node.kill9()
    await node.remove('late.json')
    await node.start()
    await settlesAs(t, 'echo', 'web', 'streamer')
  }
  await streamIsFine(t)
})

t.test('a container is killed: it alone starts again', async t => {
  const pod = await node.until('web', isReady)
  const before = await running()
  for (const pid of await pidsOf(pod, containerIdOf(pod))) endProcess(pid)
  const after = await node.until('web', it => isReady(it) && statusOf(it)?.restartCount === 1)
  t.equal(after.status?.podIP, pod.status?.podIP, 'in the same sandbox')
  t.match(statusOf(after)?.lastState, { terminated: { exitCode: 137 } })
  t.same(
    (await running()).filter(line => !line.startsWith('web')),
    before.filter(line => !line.startsWith('web')),
  )
  await streamIsFine(t)
})

t.test('a pause process is killed: the pod gets another sandbox, and nothing of the first is left', async t => {
  const pod = await node.until('web', isReady)
  const before = await running()
  const sandbox = (await containerd.cri.listPodSandbox()).find(it => it.labels['io.kubernetes.pod.name'] === 'web-n1')
  for (const pid of await pidsOf(pod, sandbox?.id ?? '')) endProcess(pid)
  await node.until('web', it => isReady(it) && containerIdOf(it) !== containerIdOf(pod))
  await settlesAs(t, 'echo', 'web', 'streamer')
  t.same(
    (await running()).filter(line => !line.startsWith('web')),
    before.filter(line => !line.startsWith('web')),
  )
  await streamIsFine(t)
})

/** Everything of the node ends at once; what is on disk stays, what a kernel holds and what lies under /run does not. */
const losePower = async () => {
  await node.kill9()
  await containerd.kill()
  for (const pid of await processIds()) {
    const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (argv.includes('-address') && argv.includes(containerd.socket)) endProcess(pid)
  }
  await removeCgroups(containerd.cgroupParent.slice(1))
  await unmountBelow(containerd.dir)
  await rm(join(containerd.dir, 'state'), { recursive: true, force: true })
  await netns.remove()
  await systemExec.run(['ip', 'netns', 'add', netns.name])
  await netns.run(['ip', 'link', 'set', 'lo', 'up'])
  await addUplink(netns)
}

for (const [name, prepare] of [
  ['as far as the boot id tells, it never happened', async () => undefined],
  [
    'with another boot id',
    async () => {
      // The machine's own cannot change here: the allocations say that they are of another boot instead.
      const folder = join(node.dir, 'state/cni/nodelet')
      for (const file of (await readdir(folder)).filter(it => /^\d+\./.test(it))) {
        const text = await readFile(join(folder, file), 'utf8')
        await writeFile(join(folder, file), text.replace(/"bootId":"[^"]+"/, '"bootId":"of-another-boot"'))
      }
    },
  ],
] as const)
  t.test(`the machine loses its power and comes back, ${name}`, async t => {
    await losePower()
    await prepare()
    await containerd.start()
    await node.start()
    await settlesAs(t, 'echo', 'web', 'streamer')
  })
