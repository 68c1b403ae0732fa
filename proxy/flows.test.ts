// Which tracked flows are wrong after a change: UDP and SCTP, of our frontends only.
import t from 'tap'
import type { Flow } from '../host/conntrack.ts'
import { parseFlow } from '../host/conntrack.ts'
import type { FrontendChange } from './claims.ts'
import { type FlowRule, staleFlows, toFlowRule, toReconcileRule } from './flows.ts'
import { type Frontend, frontendKey } from './model.ts'

const frontend = (serving: readonly string[], more: Partial<Frontend> = {}): Frontend => ({
  kind: 'cluster-ip',
  family: 'IPv4',
  ip: '10.96.0.1',
  protocol: 'UDP',
  port: 53,
  service: 'default/dns',
  created: '',
  portName: '',
  lane: { to: [], otherwise: 'reject' },
  inside: undefined,
  masquerade: 'off-cluster',
  affinitySeconds: 0,
  sourceRanges: undefined,
  serving: serving.map(ip => ({ ip, port: 5353, local: false })),
  ...more,
})
const flow = (to: string, answeredBy: string, more: Partial<Flow> = {}): Flow => ({
  family: 'IPv4',
  protocol: 'UDP',
  from: '10.244.1.10',
  fromPort: 4000,
  to,
  toPort: 53,
  answeredBy,
  answeredByPort: answeredBy === to ? 53 : 5353,
  ...more,
})
const change = (before: Frontend | undefined, after: Frontend | undefined): FrontendChange => ({
  key: frontendKey((after ?? before)!),
  before,
  after,
})
const nodePort = (serving: readonly string[], port: number) => frontend(serving, { kind: 'node-port', ip: '', port })
const nodeIPs = new Set(['192.168.50.1'])
const stale = (rule: FlowRule | undefined, flows: readonly Flow[]) =>
  staleFlows(flows, rule === undefined ? [] : [rule], nodeIPs).map(({ answeredBy }) => answeredBy)

const toCluster = ['10.1.0.1', '10.1.0.2', '10.96.0.1'].map(ip => flow('10.96.0.1', ip))
const toNode = ['10.1.0.1', '192.168.50.1'].map(ip =>
  flow('192.168.50.1', ip, { toPort: 30_053, answeredByPort: ip === '192.168.50.1' ? 30_053 : 5353 }),
)

type Row = readonly [string, FrontendChange, readonly Flow[], readonly string[]]
const rows: readonly Row[] = [
  [
    'an endpoint that is gone loses its flows',
    change(frontend(['10.1.0.1', '10.1.0.2']), frontend(['10.1.0.2'])),
    toCluster,
    ['10.1.0.1'],
  ],
  [
    'a Service that is deleted loses all',
    change(frontend(['10.1.0.1', '10.1.0.2']), undefined),
    toCluster,
    ['10.1.0.1', '10.1.0.2'],
  ],
  ['so does one that is emptied', change(frontend(['10.1.0.1', '10.1.0.2']), frontend([])), toCluster, ['10.1.0.1', '10.1.0.2']],
  [
    'a Service that is new takes over flows that went nowhere',
    change(undefined, frontend(['10.1.0.1'])),
    toCluster,
    ['10.96.0.1'],
  ],
  ['and one that had nobody does', change(frontend([]), frontend(['10.1.0.1'])), toCluster, ['10.96.0.1']],
  ['one endpoint more ends nothing', change(frontend(['10.1.0.1']), frontend(['10.1.0.1', '10.1.0.2'])), toCluster, []],
  ['a node port that has moved loses its flows', change(nodePort(['10.1.0.1'], 30_053), undefined), toNode, ['10.1.0.1']],
  ['a node port means the addresses of the node only', change(nodePort(['10.1.0.1'], 53), undefined), toCluster, []],
  [
    'flows to other ports of the address are not ours',
    change(frontend(['10.1.0.1']), undefined),
    [flow('10.96.0.1', '10.1.0.1', { toPort: 54 })],
    [],
  ],
  [
    'nor are those of another protocol',
    change(frontend(['10.1.0.1']), undefined),
    [flow('10.96.0.1', '10.1.0.1', { protocol: 'SCTP' })],
    [],
  ],
]
for (const [name, given, flows, expected] of rows) t.test(name, async t2 => t2.same(stale(toFlowRule(given), flows), expected))

t.test('of loopback only what was sent on is ours', async t2 => {
  const loopback = ['10.1.0.1', '127.0.0.1'].map(ip =>
    flow('127.0.0.1', ip, { toPort: 30_053, answeredByPort: ip === '127.0.0.1' ? 30_053 : 5353 }),
  )
  t2.same(stale(toFlowRule(change(nodePort(['10.1.0.1'], 30_053), undefined)), loopback), ['10.1.0.1'])
  t2.same(stale(toFlowRule(change(undefined, nodePort(['10.1.0.2'], 30_053))), loopback), [])
  t2.same(stale(toReconcileRule(nodePort(['10.1.0.2'], 30_053)), loopback), [])
})

const earlier = toFlowRule(change(frontend(['10.1.0.1']), frontend(['10.1.0.2'])))
const later: readonly (readonly [string, FlowRule | undefined, FrontendChange, readonly string[]])[] = [
  [
    'two changes before the rules stood count together',
    earlier,
    change(frontend(['10.1.0.2']), undefined),
    ['10.1.0.1', '10.1.0.2'],
  ],
  ['an endpoint that came back is not gone', earlier, change(frontend(['10.1.0.2']), frontend(['10.1.0.1', '10.1.0.2'])), []],
  [
    'nor is it after a start',
    toReconcileRule(frontend(['10.1.0.2'])),
    change(frontend(['10.1.0.2']), frontend(['10.1.0.1'])),
    ['10.1.0.2', '10.96.0.1'],
  ],
]
for (const [name, before, then, expected] of later)
  t.test(name, async t2 => t2.same(stale(toFlowRule(then, before), toCluster), expected))

t.test('TCP flows are left to TCP', async t2 => {
  t2.equal(toFlowRule(change(frontend(['10.1.0.1'], { protocol: 'TCP' }), undefined)), undefined)
})

t.test('after a start, flows to anybody who does not serve now are wrong', async t2 => {
  t2.same(stale(toReconcileRule(frontend(['10.1.0.2'])), toCluster), ['10.1.0.1', '10.96.0.1'])
  t2.equal(
    toReconcileRule(frontend([])),
    undefined,
    'but not those of a Service that nobody serves: that may be a start too early',
  )
})

t.test('lines of conntrack are read', async t2 => {
  const line =
    'udp      17 99 src=10.0.0.5 dst=10.96.0.1 sport=1234 dport=53 [UNREPLIED] src=10.1.0.9 dst=10.0.0.5 sport=5353 dport=1234 mark=0 use=1'
  t2.same(parseFlow(line, 'IPv4', 'UDP'), {
    family: 'IPv4',
    protocol: 'UDP',
    from: '10.0.0.5',
    fromPort: 1234,
    to: '10.96.0.1',
    toPort: 53,
    answeredBy: '10.1.0.9',
    answeredByPort: 5353,
  })
  t2.equal(parseFlow('icmp 1 29 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=1 src=2.2.2.2 dst=1.1.1.1', 'IPv4', 'UDP'), undefined)
})
