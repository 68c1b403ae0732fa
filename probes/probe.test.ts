import t from 'tap'
import { count, firstAttempt, nextAttempt, type Outcome, type ProbeKind, toCounter, toEventMessage, toTiming } from './probe.ts'

const after = (kind: ProbeKind, outcomes: readonly Outcome[], probe = {}) =>
  outcomes.reduce((counter, outcome) => count(counter, toTiming(probe), outcome), toCounter(kind))

for (const [name, kind, outcomes, probe, result, resting] of [
  ['a readiness probe starts as failed', 'readiness', [], {}, 'failure', false],
  ['a liveness probe starts as passed', 'liveness', [], {}, 'success', false],
  ['a startup probe starts undecided', 'startup', [], {}, 'unknown', false],
  ['one success makes a container ready', 'readiness', ['success'], {}, 'success', false],
  ['a warning counts as success', 'readiness', ['warning'], {}, 'success', false],
  ['two failures of three leave it ready', 'readiness', ['success', 'failure', 'failure'], {}, 'success', false],
  ['three in a row do not', 'readiness', ['success', 'failure', 'failure', 'failure'], {}, 'failure', false],
  [
    'a success in between starts the row again',
    'readiness',
    ['success', 'failure', 'failure', 'success', 'failure', 'failure'],
    {},
    'success',
    false,
  ],
  [
    'an attempt that could not be made neither counts nor breaks the row',
    'liveness',
    ['failure', 'error', 'failure', 'error', 'failure'],
    {},
    'failure',
    true,
  ],
  [
    'successThreshold 2 wants two in a row',
    'readiness',
    ['success', 'failure', 'success'],
    { successThreshold: 2 },
    'failure',
    false,
  ],
  ['and has them then', 'readiness', ['success', 'failure', 'success', 'success'], { successThreshold: 2 }, 'success', false],
  ['failureThreshold 1 fails at once', 'liveness', ['failure'], { failureThreshold: 1 }, 'failure', true],
  [
    'a failed liveness probe rests until there is a new container',
    'liveness',
    ['failure', 'failure', 'failure', 'success'],
    {},
    'failure',
    true,
  ],
  ['a passed startup probe rests', 'startup', ['failure', 'success', 'failure', 'failure', 'failure'], {}, 'success', true],
  ['a failed one too', 'startup', ['failure', 'failure', 'failure', 'success'], {}, 'failure', true],
] as const) {
  t.test(name, async t => {
    const counter = after(kind, outcomes, probe)
    t.equal(counter.result, result)
    t.equal(counter.resting, resting)
  })
}

t.test('timing has the defaults of the API', async t => {
  t.same(toTiming({}), { initialDelayMs: 0, periodMs: 10_000, timeoutMs: 1000, successThreshold: 1, failureThreshold: 3 })
  t.same(toTiming({ initialDelaySeconds: 5, periodSeconds: 2, timeoutSeconds: 3, successThreshold: 2, failureThreshold: 1 }), {
    initialDelayMs: 5000,
    periodMs: 2000,
    timeoutMs: 3000,
    successThreshold: 2,
    failureThreshold: 1,
  })
})

t.test('a counter that is handed back its result does not flip', async t => {
  t.match(toCounter('readiness', 'success'), { result: 'success', resting: false })
  t.match(toCounter('startup', 'success'), { result: 'success', resting: true })
  t.match(toCounter('startup', 'unknown'), { result: 'unknown', resting: false })
})

t.test('a new container is asked at once without initial delay, and when the delay is over with one', async t => {
  t.equal(firstAttempt(toTiming({}), 1000, 1200), 1200)
  t.equal(firstAttempt(toTiming({ initialDelaySeconds: 5 }), 1000, 1200), 6000)
  t.equal(firstAttempt(toTiming({ initialDelaySeconds: 5 }), 1000, 9000), 9000)
  t.equal(firstAttempt(toTiming({}), 1000, 9000, 700), 9700)
})

t.test('attempts keep their pace, and a slow one is followed at once', async t => {
  t.equal(nextAttempt(toTiming({ periodSeconds: 1 }), 5000, 5030), 6000)
  t.equal(nextAttempt(toTiming({ periodSeconds: 1 }), 5000, 7500), 7500)
})

t.test('event texts are those that users search for', async t => {
  const failure = { outcome: 'failure', message: 'HTTP probe failed with statuscode: 500' } as const
  t.equal(toEventMessage('readiness', failure), 'Readiness probe failed: HTTP probe failed with statuscode: 500')
  t.equal(toEventMessage('liveness', { outcome: 'warning', message: 'x' }), 'Liveness probe warning: x')
  t.equal(toEventMessage('startup', { outcome: 'error', message: 'x' }), 'Startup probe errored and resulted in unknown state: x')
  t.equal(toEventMessage('startup', { outcome: 'success', message: 'x' }), undefined)
})
