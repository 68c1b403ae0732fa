// The runtime in memory keeps the promises that tests build on: those of a real one, as far as they can be seen.
import t from 'tap'
import { fakeClock } from '../../host/clock.fake.ts'
import { Fault, isFault } from '../../host/fault.ts'
import type { TaskEvent } from '../task-event.ts'
import { createCriFake } from './cri.fake.ts'

const sandboxConfig = { metadata: { name: 'web', namespace: 'default', uid: 'u1', attempt: 0 }, logDirectory: '/logs' }
const containerConfig = { metadata: { name: 'main', attempt: 0 }, image: { image: 'busybox:1' }, logPath: 'main/0.log' }

const setup = () => {
  const clock = fakeClock()
  const events: TaskEvent[] = []
  const cri = createCriFake({ clock, onEvent: event => events.push(event), images: ['busybox:1'] })
  return { clock, events, cri }
}

const running = async () => {
  const all = setup()
  const sandbox = await all.cri.runPodSandbox(sandboxConfig)
  const id = await all.cri.createContainer(sandbox, containerConfig, sandboxConfig)
  await all.cri.startContainer(id)
  return { ...all, sandbox, id }
}

t.test('a container runs from its start until the test ends it, and its status says how', async t => {
  const { cri, id, events } = await running()
  cri.exit(id, 3)
  const { status } = await cri.containerStatus(id)
  t.match(status, { state: 'CONTAINER_EXITED', exitCode: 3, reason: 'Error', logPath: '/logs/main/0.log' })
  t.same(
    events.filter(it => it.containerId === id).map(it => it.type),
    ['create', 'start', 'exit', 'delete'],
  )
})

t.test('a program may end by itself after its time', async t => {
  const { cri, clock } = setup()
  cri.programs.set('main', { exitsAfterMs: 500, exitCode: 7 })
  const sandbox = await cri.runPodSandbox(sandboxConfig)
  await cri.startContainer(await cri.createContainer(sandbox, containerConfig, sandboxConfig))
  await clock.advance(499)
  t.equal(cri.container('main')?.state, 'CONTAINER_RUNNING')
  await clock.advance(1)
  t.match(cri.container('main'), { state: 'CONTAINER_EXITED', exitCode: 7 })
})

t.test('a stop is over at once with 143, or after the grace period with 137 when the program ignores it', async t => {
  const polite = await running()
  await polite.cri.stopContainer(polite.id, 30)
  t.equal(polite.cri.container('main')?.exitCode, 143)
  const stubborn = await running()
  stubborn.cri.programs.set('main', { ignoresStop: true })
  const stopped = stubborn.cri.stopContainer(stubborn.id, 30)
  await stubborn.clock.advance(29_999)
  t.equal(stubborn.cri.container('main')?.state, 'CONTAINER_RUNNING')
  await stubborn.clock.advance(1)
  await stopped
  t.equal(stubborn.cri.container('main')?.exitCode, 137)
})

t.test('stopping a sandbox ends its containers, removing it takes them away, and both may be repeated', async t => {
  const { cri, sandbox } = await running()
  for (const _ of [1, 2]) await cri.stopPodSandbox(sandbox)
  t.match(await cri.listPodSandbox(), [{ state: 'SANDBOX_NOTREADY' }])
  t.match(await cri.listContainers(), [{ state: 'CONTAINER_EXITED' }])
  for (const _ of [1, 2]) await cri.removePodSandbox(sandbox)
  t.same(await cri.listContainers(), [])
})

t.test('a name is reserved until its holder is removed', async t => {
  const { cri, sandbox, id } = await running()
  await t.rejects(cri.runPodSandbox(sandboxConfig), { code: 'runtime-refused' })
  await t.rejects(cri.createContainer(sandbox, containerConfig, sandboxConfig), { code: 'runtime-refused' })
  await cri.removeContainer(id)
  await t.resolves(cri.createContainer(sandbox, containerConfig, sandboxConfig))
})

t.test('filters select by state, sandbox and labels', async t => {
  const { cri, sandbox, id } = await running()
  t.equal((await cri.listContainers({ podSandboxId: sandbox, state: { state: 'CONTAINER_RUNNING' } })).length, 1)
  t.equal((await cri.listContainers({ id, labelSelector: { a: 'b' } })).length, 0)
})

t.test('images are present by name, id or digest, pulled from a registry that has all but the broken ones', async t => {
  const { cri } = setup()
  t.equal((await cri.imageStatus({ image: 'new:1' })).image, null)
  const ref = await cri.pullImage({ image: 'new:1' })
  t.match((await cri.imageStatus({ image: ref })).image, { repoTags: ['new:1'] })
  cri.images.broken.set('bad:1', new Fault('image-pull', 'no such image'))
  await t.rejects(cri.pullImage({ image: 'bad:1' }), { code: 'image-pull' })
  await t.rejects(
    cri.createContainer(await cri.runPodSandbox(sandboxConfig), { ...containerConfig, image: { image: 'bad:1' } }, sandboxConfig),
    {
      code: 'not-found',
    },
  )
})

t.test('calls are logged, fail on order, hang until let go, and all fail while the runtime is away', async t => {
  const { cri } = setup()
  cri.fail('version', new Fault('runtime-timeout', 'slow'))
  await t.rejects(cri.version(), { code: 'runtime-timeout' })
  await t.resolves(cri.version())
  t.equal(cri.count('version'), 2)
  const release = cri.hang('status')
  const gone = new AbortController()
  const aborted = cri.status(false, { signal: gone.signal })
  const waiting = cri.status()
  gone.abort(new Error('enough'))
  await t.rejects(aborted, { message: 'enough' })
  release()
  await t.resolves(waiting)
  cri.setAway(true)
  t.ok(isFault(await cri.version().catch(error => error), 'runtime-away'))
})
