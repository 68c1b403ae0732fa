import t from 'tap'
import { createFakeApi } from '../api/kube/api.fake.ts'
import type { Pod } from '../api/types.ts'
import { fakeClock } from '../host/clock.fake.ts'
import { Fault } from '../host/fault.ts'
import { silentLog } from '../host/log.ts'
import { adoptable, createTokens, renewalTime, type SavedToken } from './tokens.ts'
import type { TokenSource } from './volumes/plan.ts'

const hour = 3_600_000
const podOf = (uid: string): Pod => ({
  metadata: { name: `pod-${uid}`, namespace: 'shop', uid },
  spec: { serviceAccountName: 'clerk', containers: [{ name: 'c', image: 'i' }] },
})
const source: TokenSource = { from: 'token', path: 'token', audience: '', expirationSeconds: 3607 }

const bench = (remembered: readonly SavedToken[] = []) => {
  const clock = fakeClock()
  const api = createFakeApi()
  let issued = 0
  api.react({ resource: 'serviceaccounts', subresource: 'token' }, ({ body }) => {
    const { spec } = body as { spec: { expirationSeconds: number } }
    issued += 1
    const expirationTimestamp = new Date(clock.now() + spec.expirationSeconds * 1000).toISOString()
    return { ...(body as object), status: { token: `jwt-${issued}`, expirationTimestamp } }
  })
  const renewed: string[] = []
  const tokens = createTokens({
    ...{ api, clock, log: silentLog, remembered, random: () => 0 },
    onRenewed: uid => void renewed.push(uid),
  })
  t.teardown(tokens.stop)
  return { api, clock, tokens, renewed }
}

t.test('a token is asked for with its audience, its life and its pod, once for all who want it', async t => {
  const { api, tokens } = bench()
  const wanted = { ...source, audience: 'vault', expirationSeconds: 600 }
  t.same(await Promise.all([tokens.token(podOf('a'), wanted), tokens.token(podOf('a'), wanted)]), ['jwt-1', 'jwt-1'])
  t.equal(await tokens.token(podOf('a'), wanted), 'jwt-1')
  t.match(api.calls, [{ verb: 'create', namespace: 'shop', name: 'clerk', subresource: 'token' }])
  t.equal(api.calls.length, 1)
  t.same(api.calls[0]?.body, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    metadata: {},
    spec: {
      audiences: ['vault'],
      expirationSeconds: 600,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: 'pod-a', uid: 'a' },
    },
  })
})

t.test('another pod, audience or life is another token', async t => {
  const { tokens } = bench()
  const given = [
    await tokens.token(podOf('a'), source),
    await tokens.token(podOf('b'), source),
    await tokens.token(podOf('a'), { ...source, audience: 'vault' }),
    await tokens.token(podOf('a'), { ...source, expirationSeconds: 600 }),
  ]
  t.equal(new Set(given).size, 4)
})

t.test('it is renewed at 80 % of its life, and whoever writes it is told', async t => {
  const { tokens, clock, renewed } = bench()
  await tokens.token(podOf('a'), source)
  await clock.advance(47 * 60_000)
  t.same(renewed, [])
  await clock.advance(3 * 60_000)
  t.same(renewed, ['a'])
  t.equal(await tokens.token(podOf('a'), source), 'jwt-2')
})

t.test('one that cannot be renewed is used while it is valid, without waiting', async t => {
  const { tokens, clock, api, renewed } = bench()
  await tokens.token(podOf('a'), source)
  const stop = api.react({ subresource: 'token' }, () => {
    throw new Fault('api-away', 'nobody home')
  })
  await clock.advance(60 * 60_000)
  t.equal(await tokens.token(podOf('a'), source), 'jwt-1')
  t.same(renewed, [])
  await clock.advance(60_000)
  await t.rejects(tokens.token(podOf('a'), source), {
    code: 'volume',
    message: 'token expired and refresh failed: nobody home',
    object: 'pod shop/pod-a',
  })
  stop()
  t.equal(await tokens.token(podOf('a'), source), 'jwt-2')
})

t.test('the first that cannot be had says why', async t => {
  const { tokens, api } = bench()
  api.failNext({ subresource: 'token' }, new Fault('not-found', 'serviceaccounts "clerk" not found'))
  await t.rejects(tokens.token(podOf('a'), source), { message: 'failed to fetch token: serviceaccounts "clerk" not found' })
})

t.test('a pod that is gone has no tokens, not even one that is being renewed', async t => {
  const { tokens, clock, api, renewed } = bench()
  await tokens.token(podOf('a'), source)
  const { promise: answered, resolve: answer } = Promise.withResolvers<undefined>()
  api.react({ subresource: 'token' }, () => answered)
  await clock.advance(50 * 60_000)
  tokens.forget('a')
  answer(undefined)
  await clock.advance(2 * hour)
  t.same(tokens.saved(), [])
  t.same(renewed, [])
  t.equal(api.calls.length, 2)
})

t.test('tokens of an earlier run go on unless they have expired', async t => {
  const first = bench()
  await first.tokens.token(podOf('a'), source)
  await first.tokens.token(podOf('b'), { ...source, expirationSeconds: 600 })
  const saved = first.tokens.saved()
  const later = bench(saved.map(it => (it.podUid === 'b' ? { ...it, expiresAt: 0 } : it)))
  t.equal(await later.tokens.token(podOf('a'), source), 'jwt-1')
  t.equal(later.api.calls.length, 0)
  await later.tokens.token(podOf('b'), { ...source, expirationSeconds: 600 })
  t.equal(later.api.calls.length, 1)
})

for (const [name, lifeMs, expected] of [
  ['an hour: after 48 minutes', hour, 0.8 * hour],
  ['ten minutes: after eight', hour / 6, (0.8 * hour) / 6],
  ['a year: after a day', 365 * 24 * hour, 24 * hour],
] as const) {
  t.test(name, async t => t.equal(renewalTime(lifeMs, lifeMs, 0), Math.round(expected)))
}

const claims = {
  ...{ iat: 1000, exp: 1000 + 365 * 86_400, aud: ['https://kubernetes.default.svc'] },
  'kubernetes.io': { namespace: 'shop', warnafter: 4607, pod: { uid: 'a' }, serviceaccount: { name: 'clerk' } },
}
const jwt = (payload: object): string => `head.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.sign`
const wish = { podUid: 'a', podName: 'pod-a', namespace: 'shop', serviceAccount: 'clerk', audience: '', expirationSeconds: 3607 }
const own = claims['kubernetes.io']

for (const [name, given, wanted, expiresAt] of [
  ['a token that the volume holds already is used again, until the time that was asked for', jwt(claims), wish, 4_607_000],
  [
    'one that says only when it ends, until then',
    jwt({ ...claims, 'kubernetes.io': { ...own, warnafter: undefined } }),
    wish,
    1000 * claims.exp,
  ],
  ['not for another pod', jwt(claims), { ...wish, podUid: 'b' }, undefined],
  ['not for another account', jwt(claims), { ...wish, serviceAccount: 'boss' }, undefined],
  ['not for another audience', jwt(claims), { ...wish, audience: 'vault' }, undefined],
  ['not what is no token', 'hello', wish, undefined],
  ['not an empty file', '', wish, undefined],
] as const) {
  t.test(name, async t => t.equal(adoptable(wanted, given, 0)?.expiresAt, expiresAt))
}

t.test('a token in its file is asked for again only when it has expired', async t => {
  const { tokens, clock, api } = bench()
  const iat = clock.now() / 1000
  const fresh = jwt({ ...claims, iat, 'kubernetes.io': { ...own, warnafter: iat + 3607 } })
  t.equal(await tokens.token(podOf('a'), source, async () => fresh), fresh)
  t.equal(api.calls.length, 0)
  const { tokens: others } = bench()
  const old = jwt({ ...claims, 'kubernetes.io': { ...own, warnafter: iat - 1 } })
  t.equal(await others.token(podOf('a'), source, async () => old), 'jwt-1')
})
