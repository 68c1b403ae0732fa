// What /healthz and /livez say, as kube-proxy 1.36 says it.
import t from 'tap'
import { type ProgressByFamily, toHealth, toHealthAnswer } from './health.ts'

const at = Date.parse('2026-01-01T00:00:00.000Z')
const lateMs = 60_000
const standing = { queuedAt: at - 10_000, updatedAt: at - 10_000, waitingSince: undefined }
const waiting = (ms: number) => ({ ...standing, waitingSince: at - ms })

const answer = (progress: ProgressByFamily, eligible?: boolean) => {
  const { status, body } = toHealthAnswer(toHealth(progress, lateMs, at), at, eligible)
  return { status, ...(JSON.parse(body) as object) }
}
const now = '2026-01-01T00:00:00.000Z'
const before = '2025-12-31T23:59:50.000Z'

for (const [name, progress, eligible, expected] of [
  [
    'before the first sync it is healthy, and was never updated',
    { IPv4: { queuedAt: at, updatedAt: undefined, waitingSince: at - 90_000 } },
    true,
    { status: 200, lastUpdated: now, currentTime: now, nodeEligible: true, healthy: true },
  ],
  [
    'all written: healthy, and updated now',
    { IPv4: standing },
    true,
    { status: { IPv4: { lastUpdated: before, healthy: true } }, lastUpdated: now, nodeEligible: true, healthy: true },
  ],
  ['a change that waits for less than two periods is fine', { IPv4: waiting(59_999) }, true, { lastUpdated: now, healthy: true }],
  [
    'one that waits longer is not, and the time is that of the last update',
    { IPv4: standing, IPv6: waiting(60_000) },
    true,
    {
      ...{ lastUpdated: before, healthy: false },
      status: { IPv4: { lastUpdated: before, healthy: true }, IPv6: { lastUpdated: before, healthy: false } },
    },
  ],
  [
    'a node that is about to go: the proxy is healthy, the answer is not',
    { IPv4: standing },
    false,
    { lastUpdated: before, healthy: true, nodeEligible: false },
  ],
] as const)
  t.test(name, async t => t.match(answer(progress, eligible), expected))

for (const [name, progress, eligible, expected] of [
  ['healthz of a proxy that keeps up is 200', { IPv4: standing }, true, 200],
  ['healthz of one that is late is 503', { IPv4: waiting(lateMs) }, true, 503],
  ['healthz of a node that is about to go is 503', { IPv4: standing }, false, 503],
  ['livez does not ask for the node', { IPv4: standing }, undefined, 200],
  ['livez of a proxy that is late is 503', { IPv4: waiting(lateMs) }, undefined, 503],
] as const)
  t.test(name, async t => {
    const { status, body } = toHealthAnswer(toHealth(progress, lateMs, at), at, eligible)
    t.equal(status, expected)
    t.equal('nodeEligible' in (JSON.parse(body) as object), eligible !== undefined)
  })

t.test('unhealthy before anything was ever written: the time is that of Go which never was', async t => {
  const { body } = toHealthAnswer({ healthy: false, families: {} }, at, true)
  t.match(JSON.parse(body), { lastUpdated: '0001-01-01T00:00:00Z', healthy: false })
  t.notMatch(body, 'status')
})
