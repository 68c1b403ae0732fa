import t from 'tap'
import { createClaims } from './claims.ts'
import type { Frontend } from './model.ts'

const frontend = (service: string, created = '', port = 80): Frontend => ({
  kind: 'external-ip',
  family: 'IPv4',
  ip: '203.0.113.1',
  protocol: 'TCP',
  port,
  service,
  created,
  portName: '',
  lane: { to: [], otherwise: 'reject' },
  inside: undefined,
  masquerade: 'always',
  affinitySeconds: 0,
  sourceRanges: undefined,
  serving: [],
})
const owner = (claims: ReturnType<typeof createClaims>) => [...claims.effective()].map(({ service }) => service)

t.test('an address that two Services claim belongs to the older one, and goes to the other when that one ends', async t2 => {
  const claims = createClaims()
  claims.set('b', [frontend('b', '2026-01-02')])
  const second = claims.set('a', [frontend('a', '2026-01-03')])
  t2.same(second.changes, [], 'the younger one changes nothing')
  t2.same(second.conflicts, [{ key: '203.0.113.1 TCP 80', owner: 'b', waiting: 'a' }])
  t2.same(claims.set('a', [frontend('a', '2026-01-03')]).conflicts, [], 'and is not told again')
  const third = claims.set('c', [frontend('c', '2026-01-01')])
  t2.match(third.changes, [{ before: { service: 'b' }, after: { service: 'c' } }], 'an older one takes it over')
  t2.match(claims.set('c', []).changes, [{ before: { service: 'c' }, after: { service: 'b' } }])
  claims.set('b', [])
  t2.same(owner(claims), ['a'])
  t2.match(claims.set('a', []).changes, [{ before: { service: 'a' }, after: undefined }])
  t2.same([claims.size, [...claims.services()]], [0, []])
})

t.test('Services of one age are ordered by name', async t2 => {
  const claims = createClaims()
  claims.set('b', [frontend('b')])
  claims.set('a', [frontend('a')])
  t2.same(owner(claims), ['a'])
})

t.test('what means the same is no change', async t2 => {
  const claims = createClaims()
  claims.set('a', [frontend('a')])
  t2.same(claims.set('a', [frontend('a')]).changes, [])
  t2.same(
    claims.set('a', [frontend('a', '', 81)]).changes.map(({ key }) => key),
    ['203.0.113.1 TCP 80', '203.0.113.1 TCP 81'],
  )
})
