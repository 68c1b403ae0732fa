// Pods from the folder on a real containerd: what their containers share, how they end and come back, what stays of them.
import { readdir, readlink } from 'node:fs/promises'
import t from 'tap'
import { systemExec } from '../../host/exec.ts'
import { busyboxImage, webImage } from '../support/images.ts'
import { bareScript, hostPrograms, idle, podOf, script, web } from '../support/manifests.ts'
import { createNode, isReady, nodeIP, statusOf, waitingReason } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const node = await createNode({ containerd: { images: [busyboxImage, webImage] } })
t.setTimeout(0)
t.teardown(() => node.close())

/** Takes a manifest away and waits until its pod is gone. */
const end = async (file: string, pod: string) => {
  await node.remove(file)
  await node.gone(pod)
}

const idOf = (pod: Parameters<typeof statusOf>[0], container: string) =>
  statusOf(pod, container)?.containerID?.replace('containerd://', '') ?? ''

await t.test('a container that is killed runs again within a second, the others go on', async t => {
  await node.write('killed.json', podOf('killed', [idle({ name: 'victim' }), idle({ name: 'other' })]))
  const before = await node.until('killed', isReady)
  const { info } = await node.containerd.cri.containerStatus(idOf(before, 'victim'), true)
  const started = performance.now()
  process.kill((JSON.parse(info['info'] ?? '{}') as { pid: number }).pid, 'SIGKILL')
  const after = await node.until('killed', it => statusOf(it, 'victim')?.restartCount === 1 && isReady(it))
  t.ok(performance.now() - started < 1000, `${performance.now() - started} ms`)
  t.match(statusOf(after, 'victim')?.lastState?.terminated, { exitCode: 137, reason: 'Error' })
  t.equal(idOf(after, 'other'), idOf(before, 'other'))
  await end('killed.json', 'killed')
})

// Most of their time is waiting.
t.jobs = 4

const perl = (words: string) => ['/usr/bin/perl', '-e', words]

t.test('three containers share localhost, an emptyDir and SysV shared memory', async t => {
  const volumes = [...hostPrograms.volumes, { name: 'shared', emptyDir: {} }]
  const volumeMounts = [...hostPrograms.volumeMounts, { name: 'shared', mountPath: '/shared' }]
  const containers = [web({ name: 'web' }), idle({ name: 'writer', volumeMounts }), idle({ name: 'reader', volumeMounts })]
  await node.write('three.json', podOf('three', containers, { volumes }))
  await node.until('three', isReady)

  t.equal(await node.exec('three', ['wget', '-qO-', 'http://127.0.0.1/'], 'reader'), 'three-n1')
  await node.exec('three', ['sh', '-c', 'echo hello > /shared/file'], 'writer')
  t.equal(await node.exec('three', ['cat', '/shared/file'], 'reader'), 'hello')
  const write = 'my $id = shmget(77, 64, 01666) // die $!; shmwrite($id, "in memory", 0, 9) or die $!'
  await node.exec('three', perl(write), 'writer')
  t.equal(
    await node.exec('three', perl('my $m; shmread(shmget(77, 64, 0) // die($!), $m, 0, 9); print $m'), 'reader'),
    'in memory',
  )
  const [one, other] = await Promise.all(
    ['writer', 'reader'].map(it => node.exec('three', ['readlink', '/proc/self/ns/pid'], it)),
  )
  t.not(one, other, 'processes are not shared unless asked for')
  await end('three.json', 'three')
})

t.test('shareProcessNamespace: containers see and signal each other, and pause is process 1', async t => {
  const pod = podOf('procs', [idle({ name: 'a' }), script('exec sleep 4711', { name: 'b' })], { shareProcessNamespace: true })
  await node.write('procs.json', pod)
  await node.until('procs', isReady)
  t.match(await node.exec('procs', ['cat', '/proc/1/cmdline'], 'a'), /pause/)
  t.match(await node.exec('procs', ['ps', '-o', 'args'], 'a'), /^sleep 4711$/m)
  await node.exec('procs', ['sh', '-c', 'kill $(ps -o pid,args | awk \'$2 == "sleep" && $3 == 4711 { print $1 }\')'], 'a')
  await node.until('procs', it => statusOf(it, 'b')?.restartCount === 1)
  await end('procs.json', 'procs')
})

t.test("the host's namespaces, where a pod asks for them", async t => {
  const host = { hostNetwork: true, hostPID: true, hostIPC: true }
  await node.write('host.json', [podOf('host', idle(), host), podOf('own', idle())])
  const pod = await node.until('host', isReady)
  await node.until('own', isReady)
  const namespaces = ['net', 'pid', 'ipc', 'uts']
  const of = async (name: string) =>
    (await node.exec(name, ['sh', '-c', `for it in ${namespaces.join(' ')}; do readlink /proc/self/ns/$it; done`])).split('\n')
  const daemon = await Promise.all(namespaces.map(it => readlink(`/proc/${node.pid}/ns/${it}`)))
  t.same(await of('host'), daemon, 'net, pid, ipc and with the network the host name')
  for (const own of await of('own')) t.notOk(daemon.includes(own), `${own} is the pod's own`)
  t.equal(pod.status?.podIP, nodeIP)
  t.equal(pod.status?.hostIP, nodeIP)
  t.equal((await node.pod('own'))?.spec.hostNetwork, undefined)
  await end('host.json', 'host')
  await node.gone('own')
})

for (const [policy, code, phase] of [
  ['Never', 0, 'Succeeded'],
  ['Never', 3, 'Failed'],
  ['OnFailure', 0, 'Succeeded'],
] as const) {
  t.test(`restartPolicy ${policy}, exit code ${code}: the pod has ${phase}`, async t => {
    const name = `ends-${policy.toLowerCase()}-${code}`
    await node.write(`${name}.json`, podOf(name, bareScript(`echo last words; exit ${code}`), { restartPolicy: policy }))
    const pod = await node.until(name, it => it.status?.phase === phase)
    const reason = code === 0 ? 'Completed' : 'Error'
    t.match(statusOf(pod), { restartCount: 0, ready: false, state: { terminated: { exitCode: code, reason } } })
    t.match((await node.cli(['get', 'pods', name])).stdout, new RegExp(`0/1 +${reason} +0 `))
    t.equal((await node.cli(['logs', name])).stdout, 'last words\n'.trimEnd(), 'its log stays')
    await end(`${name}.json`, name)
  })
}

t.test('a container that exits at once starts again at once, then is held back: CrashLoopBackOff', async t => {
  const text = 'echo "attempt $(cat /count 2>/dev/null)"; echo final > /dev/termination-log; exit 7'
  await node.write('crash.json', podOf('crash', bareScript(text)))
  const pod = await node.until('crash', it => waitingReason(it) === 'CrashLoopBackOff')
  const status = statusOf(pod)
  t.match(status, {
    restartCount: 1,
    ready: false,
    lastState: { terminated: { exitCode: 7, reason: 'Error', message: 'final\n' } },
  })
  t.match(status?.state?.waiting?.message, /^back-off 10s restarting failed container=c pod=crash-n1_default\(/)
  t.equal(pod.status?.phase, 'Running')
  t.match((await node.cli(['get', 'pods', 'crash'])).stdout, /0\/1 +CrashLoopBackOff +1 \(/)
  t.match((await node.cli(['why', 'crash'])).stdout, /CrashLoopBackOff: back-off 10s/)
  const again = await node.until('crash', it => statusOf(it)?.restartCount === 2 && waitingReason(it), 15_000)
  const [ended, started] = [status?.lastState?.terminated?.finishedAt, statusOf(again)?.lastState?.terminated?.startedAt]
  const gap = Date.parse(started ?? '') - Date.parse(ended ?? '')
  t.ok(gap >= 9000 && gap <= 12_000, `${gap} ms between the end and the next start`)
  await end('crash.json', 'crash')
})

t.test('OnFailure brings back what failed, with the end of its log as message where asked', async t => {
  const text = 'if [ -e /data/once ]; then exit 0; fi; touch /data/once; echo went wrong; exit 1'
  const container = bareScript(text, {
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: [{ name: 'data', mountPath: '/data' }],
  })
  const spec = { restartPolicy: 'OnFailure', volumes: [{ name: 'data', emptyDir: {} }] }
  await node.write('retry.json', podOf('retry', container, spec))
  const pod = await node.until('retry', it => it.status?.phase === 'Succeeded')
  t.match(statusOf(pod), { restartCount: 1, lastState: { terminated: { exitCode: 1, message: 'went wrong\n' } } })
  t.match((await node.cli(['logs', '-p', 'retry'])).stdout, /went wrong/)
  await end('retry.json', 'retry')
})

t.test('a changed manifest makes another pod of the same name; a changed comment does not', async t => {
  await node.write('change.json', podOf('change', idle({ env: [{ name: 'A', value: '1' }] })))
  const before = await node.until('change', isReady)
  await node.write('change.json', podOf('change', idle({ env: [{ name: 'A', value: '2' }] })))
  const after = await node.until('change', it => it.metadata.uid !== before.metadata.uid && isReady(it))
  t.equal(await node.exec('change', ['sh', '-c', 'echo $A']), '2')
  t.equal(after.metadata.name, before.metadata.name)
  const text = JSON.stringify(podOf('change', idle({ env: [{ name: 'A', value: '2' }] })), null, 4)
  await node.write('change.json', `# a comment\n${text}`)
  await node.write('other.json', podOf('marker', idle()))
  await node.until('marker', isReady)
  t.equal((await node.pod('change'))?.metadata.uid, after.metadata.uid, 'a comment is no change')
  await end('change.json', 'change')
  await end('other.json', 'marker')
})

t.test('of a removed pod nothing stays: sandbox, logs, volumes, cgroup, interface', async t => {
  await node.write('trace.json', podOf('trace', idle(), { volumes: [{ name: 'm', emptyDir: { medium: 'Memory' } }] }))
  const pod = await node.until('trace', isReady)
  const uid = pod.metadata.uid ?? ''
  // The index of the other end of the pod's interface.
  const index = await node.exec('trace', ['cat', '/sys/class/net/eth0/iflink'])
  const namesIn = async (dir: string) => (await readdir(dir)).filter(it => it.includes(uid))
  const traces = async () => ({
    sandboxes: (await node.containerd.cri.listPodSandbox()).filter(it => it.metadata.uid === uid).length,
    logs: (await namesIn(node.podLogs)).length,
    folders: (await namesIn(`${node.rootDir}/pods`)).length,
    interfaces: (await node.netns.run(['ip', '-o', 'link'])).stdout.split('\n').filter(it => it.startsWith(`${index}: nlp`))
      .length,
    cgroups: (await systemExec.run(['find', '/sys/fs/cgroup/memory', '-name', `pod${uid}`])).stdout.split('\n').filter(Boolean)
      .length,
  })
  t.same(await traces(), { sandboxes: 1, logs: 1, folders: 1, interfaces: 1, cgroups: 1 })
  await end('trace.json', 'trace')
  await waitFor('everything of it to go', async () => Object.values(await traces()).every(it => it === 0))
})
