// Who may be used, as tables: readiness, fall-back to terminating endpoints, hints.
import t from 'tap'
import type { EndpointInfo } from './endpoints.ts'
import { usableEndpoints } from './topology.ts'

const node = { name: 'here', zone: 'z1' }
const endpoint = (ip: string, more: Partial<EndpointInfo> = {}): EndpointInfo => ({
  ip,
  port: 80,
  ready: true,
  serving: true,
  terminating: false,
  local: false,
  forZones: [],
  forNodes: [],
  ...more,
})
const leaving = { ready: false, serving: true, terminating: true }
const dead = { ready: false, serving: false, terminating: true }
const here = { local: true }
const both = { usesCluster: true, usesLocal: true }

type Row = readonly [string, readonly EndpointInfo[], readonly string[], readonly string[], boolean]
const rows: readonly Row[] = [
  ['ready ones are used, by Local only those of this node', [endpoint('a', here), endpoint('b')], ['a', 'b'], ['a'], true],
  ['nobody: nobody', [], [], [], false],
  ['unready ones are nobody', [endpoint('a', { ready: false, serving: false })], [], [], false],
  [
    'terminating ones serve while nobody is ready',
    [endpoint('a', { ...here, ...leaving }), endpoint('b', dead)],
    ['a'],
    ['a'],
    true,
  ],
  ['they do not beside a ready one', [endpoint('a', { ...here, ...leaving }), endpoint('b')], ['b'], ['a'], true],
  [
    'the fall-back of Local looks at this node only',
    [endpoint('a', { ...here, ...dead }), endpoint('b', leaving)],
    ['b'],
    [],
    true,
  ],
  [
    'a zone that is hinted is preferred',
    [endpoint('a', { forZones: ['z1'] }), endpoint('b', { forZones: ['z2'] })],
    ['a'],
    [],
    true,
  ],
  ['unless one ready endpoint has no hint', [endpoint('a', { forZones: ['z1'] }), endpoint('b')], ['a', 'b'], [], true],
  ['or none is for us', [endpoint('a', { forZones: ['z2'] })], ['a'], [], true],
  [
    'a node that is hinted comes before a zone',
    [endpoint('a', { forZones: ['z1'], forNodes: ['there'] }), endpoint('b', { forZones: ['z2'], forNodes: ['here'] })],
    ['b'],
    [],
    true,
  ],
  [
    'hints of endpoints that are not ready do not count',
    [endpoint('a', { forZones: ['z1'] }), endpoint('b', { ready: false })],
    ['a'],
    [],
    true,
  ],
]
for (const [name, all, cluster, local, any] of rows)
  t.test(name, async t2 => {
    const usable = usableEndpoints(all, both, node)
    t2.same(
      { cluster: usable.cluster.map(({ ip }) => ip), local: usable.local.map(({ ip }) => ip), any: usable.any },
      { cluster, local, any },
    )
  })

t.test('lists that no policy asks for are empty, but somebody is known to be there', async t2 => {
  t2.same(usableEndpoints([endpoint('a')], { usesCluster: false, usesLocal: true }, node), { cluster: [], local: [], any: true })
})
