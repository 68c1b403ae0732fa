// The daemon is stopped, replaced and finally cleaned away while its pods work: stopping ends nothing, starting breaks no connection and
// turns no status, and --cleanup leaves an empty machine.
import { stat } from 'node:fs/promises'
import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { systemClock as clock } from '../../host/clock.ts'
import { call, trafficPod } from '../support/callers.ts'
import { busyboxImage } from '../support/images.ts'
import { configMap, podOf, script, service } from '../support/manifests.ts'
import { createNode, isReady, nodeIP } from '../support/node.ts'
import { holdingsOf } from '../support/node-traces.ts'
import { rulesetOf } from '../support/ruleset.ts'
import { waitFor } from '../support/wait.ts'

t.setTimeout(0)
const node = await createNode({ containerd: { images: [busyboxImage] } })
t.teardown(() => node.close())
const { netns, containerd } = node

await node.write('echo.json', [
  podOf('echo', [], await trafficPod(['serve', '7000'], 7000), { labels: { app: 'echo' } }),
  service('echo', [{ port: 7, targetPort: 7000, nodePort: 30_007 }], { type: 'NodePort', clusterIP: '10.96.0.77' }),
])
const web = (page: string) => [
  configMap('page', { 'index.html': page }),
  podOf(
    'web',
    script('exec httpd -f -p 80 -h /www', {
      ports: [{ containerPort: 80, hostPort: 18_080 }],
      volumeMounts: [
        { name: 'page', mountPath: '/www' },
        { name: 'scratch', mountPath: '/scratch' },
      ],
      startupProbe: { tcpSocket: { port: 80 }, periodSeconds: 1 },
      // Longer than any restart here takes: what is known of it must outlive the daemon.
      readinessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 60 },
    }),
    {
      initContainers: [script('true', { name: 'first' })],
      volumes: [
        { name: 'page', configMap: { name: 'page' } },
        { name: 'scratch', emptyDir: { medium: 'Memory' } },
      ],
    },
    { annotations: { 'kubernetes.io/egress-bandwidth': '100M' } },
  ),
]
await node.write('web.json', web('hello'))
for (const name of ['echo', 'web']) await node.until(name, isReady)

/** What a pod's status must not change by a restart of the daemon. */
const essence = (pod: Pod) => ({
  name: pod.metadata.name,
  phase: pod.status?.phase,
  startTime: pod.status?.startTime,
  podIP: pod.status?.podIP,
  conditions: pod.status?.conditions?.map(({ type, status }) => `${type} ${status}`),
  containers: [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])].map(
    ({ name, ready, started, restartCount, containerID, state }) => ({ name, ready, started, restartCount, containerID, state }),
  ),
})
const statuses = async () => (await node.list<Pod>('/v1/pods')).map(essence).sort((a, b) => (a.name < b.name ? -1 : 1))

for (const [how, end] of [
  ['SIGTERM', node.stop],
  ['SIGKILL', node.kill9],
] as const)
  t.test(`${how} and a new start: no connection is refused, none breaks, no status turns`, async t => {
    const before = await statuses()
    const rules = await rulesetOf(netns)
    const stream = await call(netns, 'stream', '10.96.0.77', 7)
    const clusterIP = await call(netns, 'knock', '10.96.0.77', 7)
    const nodePort = await call(netns, 'knock', nodeIP, 30_007)
    await clock.sleep(300)
    await end()
    t.equal(node.pid, undefined)
    t.same(await rulesetOf(netns), rules, 'the rules stay')
    t.equal(await node.curl(`http://${nodeIP}:18080/`), 'hello', 'a hostPort answers without the daemon')
    await clock.sleep(500)
    await node.start()
    const shown = new Set<string>()
    const deadline = clock.monotonic() + 3_000
    while (clock.monotonic() < deadline) {
      for (const pod of await statuses()) shown.add(JSON.stringify(pod))
      await clock.sleep(5)
    }
    t.same(
      [...shown].map(it => JSON.parse(it)).sort((a, b) => (a.name < b.name ? -1 : 1)),
      JSON.parse(JSON.stringify(before)),
    )
    t.same(await rulesetOf(netns), rules, 'the rules are the same')
    for (const [what, caller, atLeast] of [
      ['a connection through the ClusterIP', stream, 50],
      ['new connections to the ClusterIP, one each millisecond', clusterIP, 1_000],
      ['new connections to the node port, one each millisecond', nodePort, 1_000],
    ] as const) {
      const good = await caller.stop()
      t.same(caller.problems, [], what)
      t.ok(good > atLeast, `${good} of them were good`)
    }
  })

t.test('a ConfigMap that changed while no daemon ran is written into the volumes of the pods that go on', async t => {
  const before = await statuses()
  const page = () => node.curl(`http://${nodeIP}:18080/`)
  await node.kill9()
  await node.write('web.json', web('hello again'))
  await node.start()
  await waitFor('the other page', async () => (await page()) === 'hello again', 5_000).catch(() => undefined)
  t.equal(await page(), 'hello again')
  t.same(await statuses(), before, 'and nothing else happens to them')
  await node.write('web.json', web('hello'))
  await waitFor('the first page', async () => (await page()) === 'hello', 5_000)
})

t.test('--cleanup while a daemon runs is refused in one line', async t => {
  const { exitCode, stdout, stderr } = await node.cleanup()
  t.equal(exitCode, 1)
  t.equal(stdout, '')
  t.match(stderr, /^nodelet agent: another nodelet daemon answers at \S+: stop it first[^\n]*$/)
  t.equal(await node.curl(`http://${nodeIP}:18080/`), 'hello', 'and touches nothing')
})

t.test('--cleanup removes everything, says what, and can be run again', async t => {
  await node.stop()
  const { exitCode, stdout, stderr } = await node.cleanup()
  t.equal(exitCode, 0, stderr)
  for (const what of [
    /^removed pod default\/web-n1$/m,
    /^removed pod default\/echo-n1$/m,
    /^removed nftables table ip nodelet-proxy$/m,
    /^removed nftables table ip6 nodelet-proxy$/m,
    /^removed nftables table inet nodelet-cni$/m,
    /^removed nftables table inet nodelet-dns$/m,
    /^removed address 10\.96\.0\.10 of cluster DNS$/m,
    /^removed interface nodelet0$/m,
    /^removed the logs in default_web-n1_/m,
  ])
    t.match(stdout, what)
  t.same(await rulesetOf(netns), [], 'no rule is left')
  const nothing = await waitFor(
    'everything to be gone',
    async () => {
      const { namespaces, 'sandboxes with mounts': mounts, ...lists } = await holdingsOf(node)
      return namespaces?.join() === '0' && mounts?.join() === '0' && Object.values(lists).every(list => list.length === 0)
    },
    5_000,
  ).catch(() => undefined)
  t.ok(nothing, nothing ? 'nothing of any pod is left' : JSON.stringify(await holdingsOf(node)))
  const shown = (await netns.run(['ip', '-j', 'link', 'show'])).stdout
  t.notMatch(shown, /nodelet0|nlp|nlb/)
  t.notMatch((await netns.run(['ip', 'addr', 'show', 'lo'])).stdout, /10\.96\.0\.10/)
  for (const path of [
    `${node.dir}/state`,
    node.socket,
    `${containerd.cniConf}/10-nodelet.conflist`,
    `${containerd.cniBin}/nodelet`,
  ])
    t.equal(await stat(path).catch(() => undefined), undefined, path)
  t.same(await containerd.cri.listContainers(), [])

  const again = await node.cleanup()
  t.same(again, { exitCode: 0, stdout: '', stderr: '' }, 'a second time there is nothing to remove')
})
