import t from 'tap'
import type { PodSpec } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import { namedPod, setup } from '../agent.fake.ts'
import { container } from '../seen.fake.ts'
import { createEviction } from './eviction.ts'
import type { Disks } from './node-signals.ts'
import type { PodUse } from './rank.ts'
import { removeEndedContainers } from './reclaim.ts'
import { evictable } from './start.ts'
import type { Observations, PressureCondition, Signal, Threshold } from './thresholds.ts'

const mib = 2 ** 20
const memory: Threshold = { signal: 'memory.available', value: '100Mi', graceMs: 0 }
const disk: Threshold = { signal: 'nodefs.available', value: '10%', graceMs: 0 }
const oneDisk: Disks = { layout: 'one', nodefs: '/r', imagefs: '/i', containerfs: '/i' }

interface Bench {
  readonly thresholds: readonly Threshold[]
  readonly longestGrace?: number
  readonly watchesMemory?: boolean
  readonly disks?: () => Promise<Disks>
}

/** An agent in memory on a node whose figures the test sets. */
const bench = (given: Bench) => {
  const node = setup()
  const left = new Map<Signal, number>()
  const uses = new Map<string, PodUse>()
  const told: string[] = []
  const asked: (readonly Signal[])[] = []
  const observe = async (wanted: ReadonlySet<Signal>): Promise<Observations> => {
    asked.push([...wanted])
    return new Map(
      [...left]
        .filter(([signal]) => wanted.has(signal))
        .map(([signal, available]) => [signal, { available, capacity: 1000 * mib }]),
    )
  }
  const pods = evictable(node.agent)
  const eviction = createEviction({
    ...pods,
    thresholds: given.thresholds,
    transitionMs: 300_000,
    longestGrace: given.longestGrace ?? 0,
    watchesMemory: given.watchesMemory ?? false,
    signals: { disks: given.disks ?? (async () => oneDisk), observe },
    measure: async () => uses,
    reclaim: {
      containers: async () => {
        told.push('containers')
        await removeEndedContainers(node.cri, node.agent.pods.workers())
      },
      images: async () => {
        told.push('images')
        for (const [signal, bytes] of reclaimable) left.set(signal, bytes)
      },
    },
    onConditions: (conditions: readonly PressureCondition[]) => void told.push(`[${conditions.join(' ')}]`),
    onReclaiming: starved => void told.push(`reclaim ${starved}`),
    onEvicted: signal => void told.push(`evicted for ${signal}`),
    clock: node.clock,
    log: silentLog,
  })
  const reclaimable = new Map<Signal, number>()
  const run = async (name: string, memoryBytes: number, spec: Partial<PodSpec> = {}) => {
    node.wanted.put(namedPod(name, { containers: [container(`c-of-${name}`)], ...spec }))
    await node.settle()
    uses.set(`uid-of-${name}`, { memoryBytes, containers: new Map([[`c-of-${name}`, { memoryBytes }]]) })
  }
  const start = (test: typeof t) => {
    const stopping = new AbortController()
    test.teardown(() => stopping.abort(new Error('the test is over')))
    return eviction.run(stopping.signal)
  }
  return { ...node, ...{ eviction, left, uses, told, asked, reclaimable, run, start } }
}

t.test('the pod that takes most ends as Failed, with the reason, the condition and the Event', async t => {
  const { eviction, left, run, settle, status, events, told } = bench({ thresholds: [memory] })
  await run('small', 10 * mib)
  await run('large', 200 * mib)
  left.set('memory.available', 50 * mib)
  const evicted = await eviction.look()
  t.equal(evicted?.pod.metadata.name, 'large')
  await settle()
  const message =
    'The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ' +
    'Container c-of-large was using 200Mi, request is 0, has larger consumption of memory. '
  t.match(status('large'), { phase: 'Failed', reason: 'Evicted', message })
  t.match(
    status('large')?.conditions?.find(it => it.type === 'DisruptionTarget'),
    { status: 'True', reason: 'TerminationByKubelet', message },
  )
  t.ok(events.includes(`Evicted: ${message}`))
  t.equal(status('small')?.phase, 'Running')
  t.same(told, ['[MemoryPressure]', 'reclaim memory', 'evicted for memory.available'])
})

t.test('one pod ends in a round, and the next round waits until it has', async t => {
  const { start, left, run, settle, status, clock, cri } = bench({ thresholds: [memory] })
  await run('first', 300 * mib)
  await run('second', 200 * mib)
  cri.programs.set('c-of-first', { ignoresStop: true })
  left.set('memory.available', 50 * mib)
  void start(t as typeof import('tap').default)
  await settle()
  t.equal(status('first')?.phase, 'Running', 'it has a second to end')
  await clock.advance(999)
  t.equal(status('second')?.phase, 'Running')
  await clock.advance(2000)
  await settle()
  t.match(status('first'), { phase: 'Failed', reason: 'Evicted' })
  await clock.advance(2000)
  await settle()
  t.match(status('second'), { phase: 'Failed', reason: 'Evicted' })
})

t.test('critical pods stay, and whoever comes after them goes', async t => {
  const { eviction, left, run, told } = bench({ thresholds: [memory] })
  await run('system', 900 * mib, { priority: 2_000_000_000 })
  left.set('memory.available', 50 * mib)
  t.equal(await eviction.look(), undefined)
  await run('web', 1 * mib)
  t.equal((await eviction.look())?.pod.metadata.name, 'web')
  t.same(
    told.filter(it => it.startsWith('evicted')),
    ['evicted for memory.available'],
  )
})

for (const [name, longestGrace, podGrace, expected] of [
  ['a soft threshold gives what the configuration allows', 20, 60, 20],
  ['at most what the pod asks for', 20, 5, 5],
  ['and never less than a second', 0, 60, 1],
] as const) {
  t.test(name, async t => {
    const soft: Threshold = { ...memory, graceMs: 60_000 }
    const { eviction, left, run, clock } = bench({ thresholds: [soft], longestGrace })
    await run('web', mib, { terminationGracePeriodSeconds: podGrace })
    left.set('memory.available', 50 * mib)
    t.equal(await eviction.look(), undefined, 'not before its grace period is over')
    await clock.advance(60_000)
    t.equal((await eviction.look())?.grace, expected)
  })
}

t.test('what nobody needs goes before pods do', async t => {
  const { eviction, left, reclaimable, run, told } = bench({ thresholds: [disk] })
  await run('web', mib)
  left.set('nodefs.available', 50 * mib)
  reclaimable.set('nodefs.available', 300 * mib)
  t.equal(await eviction.look(), undefined)
  t.same(told, ['[DiskPressure]', 'reclaim ephemeral-storage', 'containers', 'images'])
})

t.test('containers of pods that have ended go, those of pods that run stay', async t => {
  const { eviction, left, run, cri, settle, status } = bench({ thresholds: [disk] })
  await run('done', mib, { restartPolicy: 'Never' })
  await run('web', mib)
  cri.exit(cri.container('c-of-done')!.id, 0)
  await settle()
  left.set('nodefs.available', 50 * mib)
  const evicted = await eviction.look()
  t.equal(cri.container('c-of-done'), undefined)
  t.equal(status('done')?.phase, 'Succeeded', 'what it came to is still told')
  t.match(status('done')?.containerStatuses?.[0]?.state, { terminated: { exitCode: 0 } })
  t.equal(evicted?.pod.metadata.name, 'web', 'that was not enough')
})

t.test('a condition ends after the transition period', async t => {
  const { start, left, told, clock } = bench({ thresholds: [memory] })
  left.set('memory.available', 50 * mib)
  void start(t as typeof import('tap').default)
  await clock.advance(0)
  left.set('memory.available', 500 * mib)
  await clock.advance(290_000)
  t.same(told, ['[MemoryPressure]', 'reclaim memory'])
  await clock.advance(10_000)
  t.same(told.at(-1), '[]')
})

t.test('a runtime that is away keeps nobody from seeing that memory runs out', async t => {
  let isAway = true
  const disks = async () => {
    if (isAway) throw new Fault('runtime-away', 'connection refused')
    return oneDisk
  }
  const { eviction, left, run, asked } = bench({ thresholds: [memory, disk], disks })
  await run('web', mib)
  left.set('memory.available', 50 * mib)
  t.equal((await eviction.look())?.pod.metadata.name, 'web')
  isAway = false
  await eviction.look()
  t.same(asked, [
    ['memory.available', 'nodefs.available'],
    ['memory.available', 'nodefs.available', 'containerfs.available'],
  ])
})

t.test('memory that is watched is looked at every second', async t => {
  const { start, left, run, clock, told } = bench({ thresholds: [memory, disk], watchesMemory: true })
  await run('web', mib)
  left.set('memory.available', 500 * mib)
  void start(t as typeof import('tap').default)
  await clock.advance(2000)
  t.same(told, [])
  left.set('memory.available', 50 * mib)
  await clock.advance(1000)
  t.same(told.slice(0, 2), ['[MemoryPressure]', 'reclaim memory'])
})

t.test('a pod that has been evicted is not evicted again', async t => {
  const { eviction, left, run, cri } = bench({ thresholds: [memory] })
  await run('web', mib)
  cri.programs.set('c-of-web', { ignoresStop: true })
  left.set('memory.available', 50 * mib)
  t.ok(await eviction.look())
  t.equal(await eviction.look(), undefined)
})
