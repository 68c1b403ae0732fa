import t from 'tap'
import type { TaskEvent } from '../api/task-event.ts'
import { fakeClock } from '../host/clock.fake.ts'
import { silentLog } from '../host/log.ts'
import { createFollower } from './follow.ts'
import type { PodSketch } from './observe.ts'
import { nothingSeen } from './seen.ts'
import type { PodWorker } from './worker.ts'

const sketch = (uid: string, ...ids: readonly string[]): PodSketch => ({
  ...{ uid, name: uid, namespace: 'default' },
  states: new Map(ids.map(id => [id, 'exited'])),
})

const exit = (id: string, containerId = id): TaskEvent => ({
  ...{ type: 'exit', id, containerId, pid: 1, exitStatus: 0, exitedAt: 0 },
})

/** A follower of one pod whose worker is at work and has seen nothing yet; lists answer when the test says so. */
const setup = () => {
  const clock = fakeClock()
  const poked: string[] = []
  const lists: ((found: readonly PodSketch[] | Error) => void)[] = []
  const worker = {
    ...{ uid: 'pod', seen: nothingSeen, isBusy: true, phase: 'syncing' },
    lastError: { code: 'runtime-away', message: 'gone' },
    poke: () => void poked.push('pod, again'),
  } as unknown as PodWorker
  const follower = createFollower({
    observer: {
      expectExit: () => undefined,
      relist: () =>
        new Promise((resolve, reject) =>
          lists.push(found =>
            found instanceof Error ? reject(found) : resolve(new Map(found.map(it => [it.uid, it] as const))),
          ),
        ),
    },
    pods: { poke: uid => void poked.push(uid), adopt: () => undefined, workers: () => [worker] },
    clock,
    log: silentLog,
  })
  return { clock, follower, poked, lists }
}

t.test('a container that ends before its worker has seen it pokes the worker, at work or not', async t => {
  const { clock, follower, poked, lists } = setup()
  follower.onEvent(exit('c0'))
  lists[0]?.([sketch('pod', 'c0')])
  await clock.advance(0)
  t.same(poked, ['pod'])
  t.equal(lists.length, 1)
})

t.test('a list that began before the end is asked again', async t => {
  const { clock, follower, poked, lists } = setup()
  follower.onConnected()
  follower.onEvent(exit('c0'))
  lists[0]?.([])
  await clock.advance(0)
  t.same(poked, [])
  lists[1]?.([sketch('pod', 'c0')])
  await clock.advance(0)
  t.same(poked, ['pod'])
})

t.test('what belongs to nobody is asked for once', async t => {
  const { clock, follower, poked, lists } = setup()
  follower.onEvent(exit('foreign'))
  lists[0]?.([sketch('pod', 'c0')])
  await clock.advance(900)
  t.same({ poked, lists: lists.length }, { poked: [], lists: 1 })
})

t.test('while the runtime is away, the question stays', async t => {
  const { clock, follower, poked, lists } = setup()
  follower.onEvent(exit('c0'))
  lists[0]?.(new Error('gone'))
  await clock.advance(1000)
  lists[1]?.([sketch('pod', 'c0')])
  await clock.advance(0)
  t.same(poked, ['pod, again', 'pod'], 'and who failed for want of it tries again at once')
})

t.test('a program that was executed in a container is none', async t => {
  const { follower, lists } = setup()
  follower.onEvent(exit('probe', 'c0'))
  t.equal(lists.length, 0)
})
