// The runtime client and the event streams against a real containerd: what a pod's life looks like through them, and what
// is left of it when containerd is killed. The sandboxes use the network of a namespace of the test's own.
import { mkdir, readFile } from 'node:fs/promises'
import { createConnection, createServer } from 'node:net'
import { pipeline } from 'node:stream/promises'
import t from 'tap'
import { createTasks, removingForgottenTasks } from '../../api/containerd/tasks.ts'
import { createCri } from '../../api/cri/client.ts'
import { watchCriEvents } from '../../api/cri/events.ts'
import type { ContainerConfig, PodSandboxConfig } from '../../api/cri/types.ts'
import { chooseEvents, type TaskEvent } from '../../api/events.ts'
import { systemClock } from '../../host/clock.ts'
import { systemExec } from '../../host/exec.ts'
import type { Fault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import { createContainerd } from '../support/containerd.ts'
import { busyboxImage, webImage } from '../support/images.ts'
import { createNetns } from '../support/netns.ts'
import { waitFor } from '../support/wait.ts'

const netns = await createNetns()
t.teardown(() => netns.remove())
const containerd = await createContainerd({ netns, images: [busyboxImage, webImage], bridge: '10.99.0.0/24' })
t.teardown(() => containerd.close())
const { cri, endpoint, dir, cgroupParent } = containerd

const sandboxOf = (name: string, network: 'NODE' | 'POD' = 'NODE'): PodSandboxConfig => ({
  metadata: { name, namespace: 'default', uid: `uid-${name}`, attempt: 0 },
  hostname: network === 'POD' ? name : '',
  logDirectory: `${dir}/logs/${name}`,
  labels: { pod: name },
  linux: { cgroupParent, securityContext: { namespaceOptions: { network, pid: 'CONTAINER', ipc: 'POD' } } },
})

const containerOf = (script: string, more: Partial<ContainerConfig> = {}): ContainerConfig => ({
  metadata: { name: 'main', attempt: 0 },
  image: { image: busyboxImage },
  command: ['sh', '-c', script],
  logPath: 'main.log',
  ...more,
})

/** A sandbox with one started container. */
const run = async (name: string, config: ContainerConfig, network: 'NODE' | 'POD' = 'NODE') => {
  const sandboxConfig = sandboxOf(name, network)
  await mkdir(`${dir}/logs/${name}`, { recursive: true })
  const sandbox = await cri.runPodSandbox(sandboxConfig)
  const id = await cri.createContainer(sandbox, config, sandboxConfig)
  await cri.startContainer(id)
  return { sandbox, id }
}

const statusOf = async (id: string) => (await cri.containerStatus(id)).status
const exited = (id: string) => waitFor(`container ${id} to exit`, async () => (await statusOf(id)).state === 'CONTAINER_EXITED')

const heard: { readonly event: TaskEvent; readonly at: number }[] = []
const stream = { connected: 0, lost: [] as Fault[] }
const over = new AbortController()
const watching = chooseEvents({
  ...{ endpoint, clock: systemClock, log: silentLog, signal: over.signal },
  onEvent: event => heard.push({ event, at: systemClock.now() }),
  onConnected: () => {
    stream.connected += 1
  },
  onLost: fault => stream.lost.push(fault),
})
t.teardown(async () => {
  over.abort(new Error('the test is over'))
  await watching
})
await waitFor('the event stream', () => stream.connected === 1)
const endOf = (id: string) => heard.find(({ event }) => event.type === 'exit' && event.id === id)

t.test('the runtime says what it is and that it is ready', async t => {
  t.equal((await cri.version()).runtimeName, 'containerd')
  const { status } = await cri.status()
  t.match(status?.conditions, [{ type: 'RuntimeReady', status: true }])
})

t.test('a container runs, says something in its log, is asked by exec, stopped with its own exit code, and removed', async t => {
  const script = 'trap "exit 5" TERM; echo hello; echo trouble >&2; while :; do sleep 0.05; done'
  const envs = [{ key: 'WORD', value: Buffer.from('naïve') }]
  const { sandbox, id } = await run('life', containerOf(script, { envs, labels: { a: 'b' } }))
  t.match(await statusOf(id), { state: 'CONTAINER_RUNNING', labels: { a: 'b' }, exitCode: 0 })
  t.match(await cri.listContainers({ podSandboxId: sandbox, labelSelector: { a: 'b' } }), [{ id }])
  t.same(await cri.listContainers({ labelSelector: { a: 'c' } }), [])

  const answer = await cri.execSync(id, ['sh', '-c', 'echo "$WORD"; echo oh >&2; exit 3'], 5)
  t.match(answer, { exitCode: 3 })
  t.equal(answer.stdout.toString(), 'naïve\n')
  t.equal(answer.stderr.toString(), 'oh\n')

  const { startedAt } = await statusOf(id)
  t.ok(Math.abs(startedAt / 1e6 - systemClock.now()) < 60_000, 'times are nanoseconds since the epoch')
  await cri.stopContainer(id, 10)
  t.match(await statusOf(id), { state: 'CONTAINER_EXITED', exitCode: 5, reason: 'Error' })
  const log = await readFile(`${dir}/logs/life/main.log`, 'utf8')
  t.match(log, /^\S+ stdout F hello$/m)
  t.match(log, /^\S+ stderr F trouble$/m)
  await cri.stopPodSandbox(sandbox)
  await cri.removePodSandbox(sandbox)
  await t.rejects(cri.containerStatus(id), { code: 'not-found', retry: 'never' })
})

t.test('start and exit of a container are heard as they happen, with pid and exit status', async t => {
  const { id } = await run('events', containerOf('sleep 0.3; exit 7'))
  const start = heard.find(({ event }) => event.type === 'start' && event.containerId === id)?.event
  t.ok(start?.type === 'start' && start.pid > 0)
  const end = await waitFor('the exit', () => endOf(id))
  t.match(end.event, { type: 'exit', containerId: id, id, exitStatus: 7 })
  const delay = end.event.type === 'exit' ? end.at - end.event.exitedAt : Number.NaN
  t.comment(`heard ${delay} ms after it happened`)
  t.ok(delay < 250, `heard after ${delay} ms`)
})

t.test('what was executed in a container ends under an id of its own', async t => {
  const { id } = await run('exec', containerOf('sleep 600'))
  const before = heard.length
  await cri.execSync(id, ['true'], 5)
  const ofExec = () => heard.slice(before).find(({ event }) => event.type === 'exit' && event.containerId === id)
  const { event } = await waitFor('the end of the executed process', ofExec)
  t.ok(event.type === 'exit' && event.id !== id)
  t.equal((await statusOf(id)).state, 'CONTAINER_RUNNING')
})

t.test('a container that takes more memory than its limit is told of as OOM', async t => {
  const resources = { memoryLimitInBytes: 16 * 1024 * 1024, memorySwapLimitInBytes: 16 * 1024 * 1024 }
  const { id } = await run('oom', containerOf('a=x; while :; do a=$a$a; done', { linux: { resources } }))
  await exited(id)
  t.match(await statusOf(id), { reason: 'OOMKilled', exitCode: 137 })
  t.ok(await waitFor('the oom event', () => heard.some(({ event }) => event.type === 'oom' && event.containerId === id)))
})

t.test('failures say what they are', async t => {
  const { sandbox, id } = await run('faults', containerOf('sleep 600'))
  const config = sandboxOf('faults')
  await t.rejects(
    cri.createContainer(
      sandbox,
      containerOf('', { metadata: { name: 'absent', attempt: 0 }, image: { image: 'none.invalid/x:1' } }),
      config,
    ),
    {
      code: 'not-found',
    },
  )
  await t.rejects(cri.execSync(id, ['sleep', '60'], 1), { code: 'runtime-timeout' }, 'a command that takes too long')
  await t.rejects(cri.execSync(id, ['no-such-program'], 1), { code: 'runtime-refused' })
  await t.rejects(cri.pullImage({ image: 'localhost:1/x:1' }), { code: 'image-pull', reason: 'ErrImagePull' })
  await t.rejects(cri.version({ timeoutMs: 0 }), { code: 'runtime-timeout' })
  const stopped = new AbortController()
  const waiting = cri.execSync(id, ['sleep', '60'], 30, { signal: stopped.signal })
  stopped.abort(new Error('no longer wanted'))
  await t.rejects(waiting, { message: 'no longer wanted' })
  t.equal((await cri.imageStatus({ image: 'none.invalid/x:1' })).image, null)
})

t.test('a container of which the runtime has a task that its CRI does not know is removed all the same', async t => {
  const sandboxConfig = sandboxOf('forgotten')
  const sandbox = await cri.runPodSandbox(sandboxConfig)
  const id = await cri.createContainer(sandbox, containerOf('sleep 1000'), sandboxConfig)
  const ctr = ['ctr', '--address', containerd.socket, '--namespace', 'k8s.io', 'tasks']
  await systemExec.run([...ctr, 'start', '--detach', '--null-io', id])
  t.match((await systemExec.run([...ctr, 'list'])).stdout, new RegExp(`${id} .*RUNNING`))
  await t.rejects(cri.removeContainer(id), { code: 'runtime-refused', message: /cannot delete running task/ })

  const tasks = createTasks({ endpoint, clock: systemClock })
  t.teardown(tasks.close)
  await removingForgottenTasks(cri, tasks, silentLog).removeContainer(id)
  t.notMatch((await systemExec.run([...ctr, 'list'])).stdout, id, 'its task is gone')
  await t.rejects(cri.containerStatus(id), { code: 'not-found' })
  await tasks.remove(id)
  await cri.stopPodSandbox(sandbox)
  await cri.removePodSandbox(sandbox)
})

t.test('images are asked for at an endpoint of their own where there is one', async t => {
  const socket = `${dir}/images.sock`
  let connections = 0
  const images = createServer(client => {
    connections += 1
    const runtime = createConnection(containerd.socket)
    pipeline(client, runtime, client).catch(() => undefined)
  }).listen(socket)
  t.teardown(() => images.close())
  const divided = createCri({ endpoint, imageEndpoint: `unix://${socket}`, log: silentLog })
  t.teardown(divided.close)
  await divided.listContainers()
  t.equal(connections, 0)
  t.match((await divided.imageStatus({ image: busyboxImage })).image, { repoTags: [busyboxImage] })
  t.equal(connections, 1)
})

t.test('usage figures come with their times, and unknown ones are null', async t => {
  const { id } = await run('stats', containerOf('sleep 600'))
  const stats = await waitFor('the figures', async () => {
    const it = await cri.containerStats(id)
    return it.memory?.workingSetBytes ? it : undefined
  })
  t.ok(stats.memory!.workingSetBytes!.value > 0)
  t.ok(stats.memory!.timestamp > 1e18)
  t.match(stats.attributes, { id, metadata: { name: 'main' } })
  t.match((await cri.imageFsInfo()).imageFilesystems, [{ fsId: { mountpoint: new RegExp(`^${dir}/`) } }])
})

t.test('a pod with a network of its own is reached at the address that its status shows', async t => {
  const web = { image: { image: webImage }, command: [], envs: [{ key: 'POD_NAME', value: Buffer.from('web-0') }] }
  const { sandbox, id } = await run('net', containerOf('', web), 'POD')
  const ip = (await cri.podSandboxStatus(sandbox)).status.network?.ip ?? ''
  t.match(ip, /^10\.99\.0\./)
  const get = async (path: string) => (await netns.run(['curl', '-sf', '--max-time', '2', `http://${ip}${path}`])).stdout.trim()
  t.equal(await waitFor('the web server', () => get('/')), 'web-0')
  t.equal(await get('/cgi-bin/client'), '10.99.0.1')
  const started = systemClock.monotonic()
  await cri.stopContainer(id, 30)
  t.ok(systemClock.monotonic() - started < 5000, 'the web server ends when it is told to')
})

t.test("the CRI's own event stream tells the same, where the runtime serves it", async t => {
  const told: TaskEvent[] = []
  const enough = new AbortController()
  const events = { connected: false }
  const watch = watchCriEvents({
    ...{ endpoint, clock: systemClock, log: silentLog, signal: enough.signal, onLost: () => undefined },
    onEvent: event => told.push(event),
    onConnected: () => {
      events.connected = true
    },
  }).catch((fault: Fault) => fault)
  if ((await cri.version()).runtimeVersion.startsWith('1.6')) {
    t.match(await watch, { code: 'unsupported' })
    return
  }
  await waitFor('the stream', () => events.connected)
  const { id } = await run('crievents', containerOf('exit 9'))
  const end = await waitFor('the exit', () => told.find(event => event.type === 'exit' && event.containerId === id))
  t.match(end, { id, exitStatus: 9 })
  enough.abort(new Error('the test is over'))
  await watch
})

t.test('a containerd that is killed and comes back finds client and stream again, and no container has ended', async t => {
  const { id } = await run('survivor', containerOf('while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 4'))
  await containerd.kill()
  await t.rejects(cri.version(), { code: 'runtime-away' })
  await waitFor('the loss to be told', () => stream.lost.length > 0)
  t.match(stream.lost, [{ code: 'runtime-away' }])
  await containerd.start()
  const back = systemClock.monotonic()
  await waitFor('the stream to be back', () => stream.connected === 2)
  t.ok(systemClock.monotonic() - back < 2000, 'within two seconds')
  t.equal((await statusOf(id)).state, 'CONTAINER_RUNNING')
  await cri.execSync(id, ['touch', '/tmp/go'], 5)
  t.match((await waitFor('the exit', () => endOf(id))).event, { exitStatus: 4 })
})
