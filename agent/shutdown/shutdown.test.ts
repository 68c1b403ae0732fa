import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { silentLog } from '../../host/log.ts'
import type { Ending, WorkerPhase } from '../worker.ts'
import { createNodeClosing } from './closing.ts'
import { delaySeconds, shutdownGroups, shutdownStages } from './groups.ts'
import { createNodeShutdown } from './shutdown.ts'

const settings = { shutdownGracePeriod: 30_000, shutdownGracePeriodCriticalPods: 10_000, shutdownGracePeriodByPodPriority: [] }
const critical = 2_000_000_000

const podOf = (name: string, priority: number | undefined, grace = 5): Pod => ({
  metadata: { name, uid: name },
  spec: { containers: [], terminationGracePeriodSeconds: grace, ...(priority !== undefined && { priority }) },
})

t.test('groups and their time', async t => {
  t.same(shutdownGroups(settings), [
    { priority: 0, seconds: 20 },
    { priority: critical, seconds: 10 },
  ])
  const byPriority = [
    { priority: 1000, shutdownGracePeriodSeconds: 7 },
    { priority: 0, shutdownGracePeriodSeconds: 3 },
  ]
  const given = { shutdownGracePeriod: 0, shutdownGracePeriodCriticalPods: 0, shutdownGracePeriodByPodPriority: byPriority }
  t.same(shutdownGroups(given), [
    { priority: 0, seconds: 3 },
    { priority: 1000, seconds: 7 },
  ])
  t.equal(delaySeconds(shutdownGroups(given)), 10)
  t.same(shutdownGroups({ ...given, shutdownGracePeriodByPodPriority: [] }), [], 'no time: a shutdown is not delayed')
})

t.test('a pod is of the highest group that is not above it', async t => {
  const groups = [
    { priority: 0, seconds: 1 },
    { priority: 100, seconds: 2 },
    { priority: 1000, seconds: 3 },
  ]
  const pods = [podOf('none', undefined), podOf('low', -5), podOf('middle', 999), podOf('high', 5000)].map(pod => ({ pod }))
  t.same(
    shutdownStages(groups, pods).map(it => [it.seconds, it.pods.map(({ pod }) => pod.metadata.name)]),
    [
      [1, ['none', 'low']],
      [2, ['middle']],
      [3, ['high']],
    ],
  )
})

const world = (...pods: readonly Pod[]) => {
  const clock = fakeClock()
  const said: string[] = []
  const workers = pods.map(pod => ({
    pod,
    phase: 'syncing' as WorkerPhase,
    end(ending: Ending) {
      said.push(`end ${pod.metadata.name} ${ending.grace} ${ending.verdict?.reason}`)
      this.phase = 'terminating'
    },
  }))
  let untold = 0
  const shutdown = createNodeShutdown({
    groups: shutdownGroups(settings),
    workers: () => workers,
    delay: { hold: () => void said.push('hold'), release: () => void said.push('release') },
    onClosing: isClosing => void said.push(isClosing ? 'closing' : 'open'),
    untold: () => untold,
    clock,
    log: silentLog,
  })
  const finish = (name: string) => {
    for (const worker of workers) if (worker.pod.metadata.name === name) worker.phase = 'terminated'
  }
  return { clock, said, shutdown, finish, tell: (count: number) => (untold = count) }
}

t.test('critical pods end when the others have, and then the machine goes on', async t => {
  const { clock, said, shutdown, finish } = world(podOf('web', 0), podOf('dns', critical + 5, 30))
  shutdown.announced(true)
  await clock.advance(100)
  t.same(said, ['closing', 'end web 5 Terminated'])
  finish('web')
  await clock.advance(100)
  t.same(said.slice(2), ['end dns 10 Terminated'], 'no more than its group has')
  finish('dns')
  await clock.advance(100)
  t.same(said.slice(3), ['release'])
})

t.test('who does not end in time keeps nobody', async t => {
  const { clock, said, shutdown } = world(podOf('stuck', 0), podOf('dns', critical))
  shutdown.announced(true)
  shutdown.announced(true)
  await clock.advance(20_100)
  t.same(said, ['closing', 'end stuck 5 Terminated', 'end dns 5 Terminated'])
  await clock.advance(10_100)
  t.same(said.slice(3), ['release'])
})

t.test('the last statuses are on their way before the network goes, for two seconds at most', async t => {
  const { clock, said, shutdown, tell } = world()
  tell(1)
  shutdown.announced(true)
  await clock.advance(1000)
  t.same(said, ['closing'])
  tell(0)
  await clock.advance(100)
  t.same(said, ['closing', 'release'])
})

t.test('a shutdown that is called off leaves the others, and the next one is delayed again', async t => {
  const { clock, said, shutdown } = world(podOf('web', 0), podOf('dns', critical))
  shutdown.announced(true)
  await clock.advance(100)
  shutdown.announced(false)
  await clock.advance(60_000)
  t.same(said, ['closing', 'end web 5 Terminated', 'open', 'hold'])
})

t.test('a node that closes takes no pods and is not ready', async t => {
  const closing = createNodeClosing()
  t.equal(closing.refused(), undefined)
  t.same(closing.troubles(), [])
  closing.set(true)
  t.match(closing.refused(), { ok: false, reason: 'NodeShutdown' })
  t.same(closing.troubles(), ['node is shutting down'])
})
