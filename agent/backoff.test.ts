import t from 'tap'
import { type BackOff, next, seed, waitsUntil } from './backoff.ts'

const ended = (finishedAt: number, restartCount = 0, startedAt = finishedAt - 1000) => ({ restartCount, startedAt, finishedAt })

t.test('the first crash restarts at once, then the pause doubles from 10 s to 5 min', async t => {
  let now = 1_000_000
  let state: BackOff | undefined
  const pauses: number[] = []
  for (let crash = 0; crash < 8; crash++) {
    const until = waitsUntil(state, ended(now), now)
    pauses.push(until === undefined ? 0 : (until - now) / 1000)
    now = until ?? now
    state = next(state, now)
    now += 1000
  }
  t.same(pauses, [0, 10, 20, 40, 80, 160, 300, 300])
})

t.test('a run of more than ten minutes makes the next crash the first again', async t => {
  const state = { pauseMs: 160_000, updatedAt: 0 }
  t.equal(waitsUntil(state, ended(600_001), 600_001), undefined)
  t.same(next(state, 600_001), { pauseMs: 10_000, updatedAt: 600_001 })
})

t.test('a restarted daemon goes on where the restart count says', async t => {
  t.equal(seed(ended(5000)), undefined)
  t.same(seed(ended(5000, 3, 4000)), { pauseMs: 40_000, updatedAt: 4000 })
  t.equal(seed(ended(5000, 30, 4000))?.pauseMs, 300_000)
  const lost = { exitCode: 255, reason: 'Unknown' }
  t.equal(seed({ ...ended(5000, 3, 4000), ...lost }), undefined, 'a machine that went down is no crash of its containers')
})
