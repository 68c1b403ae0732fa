import t from 'tap'
import type { Container } from '../api/types.ts'
import { fakeClock } from '../host/clock.fake.ts'
import { silentLog } from '../host/log.ts'
import type { Attempt } from './attempt.ts'
import type { Outcome } from './probe.ts'
import { createProber, type ProbeTarget } from './table.ts'

const probe = { tcpSocket: { port: 1 }, periodSeconds: 2 }
const started = 1_700_000_000_000

/** A prober whose answers are set by the test; attempts and flips are written down with their second. */
const build = (container: Partial<Container>, { startedAt = started, jitterUntil = 0, random = 0.5 } = {}) => {
  const clock = fakeClock(started)
  const answers = new Map<string, Outcome>()
  const asked: string[] = []
  const flips: string[] = []
  const kindOf = (it: object) => (['startup', 'liveness', 'readiness'] as const).find(kind => full[`${kind}Probe`] === it) ?? '?'
  const full: Container = { name: 'c', image: 'i', ...container }
  const attempt: Attempt = async it => {
    const kind = kindOf(it)
    asked.push(`${(clock.now() - started) / 1000} ${kind}`)
    return { outcome: answers.get(kind) ?? 'success', message: `said ${answers.get(kind) ?? 'success'}` }
  }
  const prober = createProber({
    cri: { execSync: () => Promise.reject(new Error('not asked')) },
    clock,
    log: silentLog,
    onResult: (uid, name, kind, result, message) =>
      flips.push(`${(clock.now() - started) / 1000} ${uid}/${name} ${kind} ${result}: ${message}`),
    jitterUntil,
    random: () => random,
    attempt,
  })
  const target = (more: Partial<ProbeTarget> = {}): ProbeTarget => ({
    podUid: 'u',
    namespace: 'ns',
    podName: 'p',
    podIPs: ['10.0.0.1'],
    container: full,
    containerId: 'id',
    startedAt,
    ...more,
  })
  return { clock, answers, asked, flips, prober, target }
}

/** Attempts on the beat of the period; those out of turn have a test of their own. */
const onBeat = (asked: readonly string[]) => asked.filter(it => Number.isInteger(Number(it.split(' ')[0])))

t.test('a new container is asked at once and then each period, and its flip is told', async t => {
  const { clock, asked, flips, prober, target } = build({ readinessProbe: probe })
  prober.sync('u', [target()])
  t.equal(prober.results('id', 'readiness'), 'failure')
  await clock.advance(0)
  t.equal(prober.results('id', 'readiness'), 'success')
  await clock.advance(5000)
  t.same(asked, ['0 readiness', '2 readiness', '4 readiness'])
  t.same(flips, ['0 u/c readiness success: said success'])
})

t.test('a flip is told in the event-loop turn in which its answer came', async t => {
  const { promise, resolve } = Promise.withResolvers<{ outcome: Outcome; message: string }>()
  const flips: string[] = []
  const clock = fakeClock(started)
  const prober = createProber({
    cri: { execSync: () => Promise.reject(new Error('not asked')) },
    clock,
    log: silentLog,
    onResult: (_, __, kind, result) => flips.push(`${kind} ${result}`),
    jitterUntil: 0,
    attempt: () => promise,
  })
  prober.sync('u', [build({ readinessProbe: probe }).target()])
  await clock.advance(0)
  const nextTurn = new Promise<string[]>(done => setImmediate(() => done([...flips])))
  resolve({ outcome: 'success', message: '' })
  t.same(await nextTurn, ['readiness success'])
  prober.close()
})

t.test('the same sync again changes nothing', async t => {
  const { clock, asked, prober, target } = build({ readinessProbe: probe })
  for (let i = 0; i < 5; i++) {
    prober.sync('u', [target()])
    await clock.advance(500)
  }
  t.same(asked, ['0 readiness', '2 readiness'])
})

t.test('the initial delay counts from the start of the container', async t => {
  const container = { readinessProbe: { ...probe, initialDelaySeconds: 10 } }
  const { clock, asked, prober, target } = build(container, { startedAt: started - 4000 })
  prober.sync('u', [target()])
  await clock.advance(7000)
  t.same(asked, ['6 readiness'])
})

t.test(
  'a container that is not ready at once is asked out of turn until its second turn, and only good answers count',
  async t => {
    const out = ['0.025', '0.075', '0.175', '0.375', '0.775', '1.575']
    const asOf = (times: readonly string[]) => times.map(it => `${it} readiness`)
    const never = build({ readinessProbe: { ...probe, failureThreshold: 3 } })
    never.answers.set('readiness', 'failure')
    never.prober.sync('u', [never.target()])
    await never.clock.advance(6500)
    t.same(never.asked, asOf(['0', ...out, '2', '4', '6']), 'one that never is')

    const soon = build({ readinessProbe: probe })
    soon.answers.set('readiness', 'failure')
    soon.prober.sync('u', [soon.target()])
    await soon.clock.advance(100)
    soon.answers.set('readiness', 'success')
    await soon.clock.advance(4400)
    t.same(soon.asked, asOf(['0', '0.025', '0.075', '0.175', '2', '4']), 'one that soon is')
    t.same(soon.flips, ['0.175 u/c readiness success: said success'])

    const twice = build({ startupProbe: { ...probe, failureThreshold: 2 } })
    twice.answers.set('startup', 'failure')
    twice.prober.sync('u', [twice.target()])
    await twice.clock.advance(1999)
    t.equal(twice.prober.results('id', 'startup'), 'unknown', 'failures out of turn do not reach the threshold')
    await twice.clock.advance(1)
    t.equal(twice.prober.results('id', 'startup'), 'failure')
  },
)

t.test('liveness and readiness wait for the startup probe and follow it at once', async t => {
  const { clock, answers, asked, flips, prober, target } = build({
    startupProbe: probe,
    livenessProbe: probe2,
    readinessProbe: probe3,
  })
  answers.set('startup', 'failure')
  prober.sync('u', [target()])
  t.equal(prober.results('id', 'startup'), 'unknown')
  await clock.advance(2500)
  answers.set('startup', 'success')
  await clock.advance(1500)
  t.same(onBeat(asked), ['0 startup', '2 startup', '4 startup', '4 liveness', '4 readiness'])
  t.same(flips, ['4 u/c startup success: said success', '4 u/c readiness success: said success'])
  await clock.advance(60_000)
  t.notOk(
    asked.some(it => Number(it.split(' ')[0]) > 4 && it.endsWith('startup')),
    'a startup probe that passed is not asked again',
  )
})
const probe2 = { ...probe }
const probe3 = { ...probe }

t.test('a container that fails its liveness probe is asked no more until there is a new one', async t => {
  const { clock, answers, asked, flips, prober, target } = build({ livenessProbe: { ...probe, failureThreshold: 2 } })
  answers.set('liveness', 'failure')
  prober.sync('u', [target()])
  await clock.advance(60_000)
  t.same(asked, ['0 liveness', '2 liveness'])
  t.same(flips, ['2 u/c liveness failure: said failure'])
  answers.set('liveness', 'success')
  prober.sync('u', [])
  prober.sync('u', [target({ containerId: 'next', startedAt: clock.now() })])
  await clock.advance(0)
  t.equal(prober.results('id', 'liveness'), 'unknown')
  t.equal(prober.results('next', 'liveness'), 'success')
  t.equal(asked.length, 3)
})

t.test('in a pod that terminates readiness goes on, liveness and startup count as passed', async t => {
  const { clock, answers, asked, prober, target } = build({ startupProbe: probe, livenessProbe: probe2, readinessProbe: probe3 })
  answers.set('startup', 'failure')
  prober.sync('u', [target()])
  await clock.advance(1000)
  prober.sync('u', [target({ terminating: true })])
  await clock.advance(2500)
  t.same(onBeat(asked), ['0 startup', '1 readiness', '3 readiness'])
  t.equal(prober.results('id', 'startup'), 'success')
  t.equal(prober.results('id', 'liveness'), 'success')
})

t.test('a forgotten pod is asked no more, and an answer under way is not told', async t => {
  const { clock, asked, flips, prober, target } = build({ readinessProbe: probe })
  prober.sync('u', [target()])
  prober.forget('u')
  await clock.advance(10_000)
  t.same([asked, flips], [[], []])
  t.equal(prober.results('id', 'readiness'), 'unknown')
})

t.test('results handed back after a restart do not flip, and their probes are spread over the period', async t => {
  const options = { startedAt: started - 60_000, jitterUntil: started + 10_000 }
  const { clock, asked, flips, prober, target } = build({ startupProbe: probe, readinessProbe: probe3 }, options)
  prober.restore([
    { containerId: 'id', kind: 'readiness', result: 'success' },
    { containerId: 'id', kind: 'startup', result: 'success' },
  ])
  prober.sync('u', [target()])
  t.equal(prober.results('id', 'readiness'), 'success')
  await clock.advance(1500)
  t.same(asked, ['1 readiness'])
  t.same(flips, [])
  t.same(prober.snapshot(), [
    { containerId: 'id', kind: 'startup', result: 'success' },
    { containerId: 'id', kind: 'readiness', result: 'success' },
  ])
})

t.test('an adopted container that nobody remembers is asked within a second; a new one at once', async t => {
  const options = { startedAt: started - 60_000, jitterUntil: started + 10_000 }
  const { clock, asked, prober, target } = build({ readinessProbe: { ...probe, periodSeconds: 60 } }, options)
  prober.sync('u', [target()])
  prober.sync('v', [target({ podUid: 'v', containerId: 'new', startedAt: started })])
  await clock.advance(1000)
  t.same(asked, ['0 readiness', '0.5 readiness'])
})

t.test('a container without a probe has passed it, one that is not known has not', async t => {
  const { prober, target } = build({})
  prober.sync('u', [target()])
  t.equal(prober.results('id', 'readiness'), 'success')
  t.equal(prober.results('other', 'readiness'), 'unknown')
  prober.close()
  t.equal(prober.results('id', 'readiness'), 'unknown')
})
