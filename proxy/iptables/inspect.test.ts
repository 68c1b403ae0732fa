// A comparison tells rule by rule what others changed in our chains, and nothing of their own; it is of no use while something is being
// written. That real iptables prints rules in the spelling that is compared shows test/kernel/trace-iptables.itest.ts.
import t from 'tap'
import { systemClock } from '../../host/clock.ts'
import { createSlices } from '../../host/loop.ts'
import { balancedService, slice } from '../backend.contract.ts'
import { toFrontends } from '../model.ts'
import { defaultSettings } from '../settings.ts'
import { createIptablesBackend } from './backend.ts'
import { spelling } from './spelling.ts'
import { fakeIptables } from './table.fake.ts'
import { v4 } from './words.ts'

const node = { name: 'node-1', zone: '', ips: ['192.168.50.1'] }
const settings = { ...defaultSettings, nodeIPs: node.ips, localTraffic: { by: 'cidr', cidrs: ['10.244.0.0/16'] } as const }
const frontends = toFrontends(balancedService('IPv4'), [slice('IPv4', { a: {}, b: {}, remote: {} })], 'IPv4', node)
const [first] = frontends
const nobody = { from: [], to: [] }

const setUp = async () => {
  const iptables = fakeIptables(node.ips)
  const told: Parameters<typeof iptables.missing>[0][] = []
  const backend = createIptablesBackend({
    iptables: {
      ...iptables,
      missing: async rules => {
        told.push(rules)
        const of = (table: string, chain = '') => iptables.tables.get(table)?.get(chain)?.map(spelling) ?? []
        return rules.filter(({ table, rule: [chain, ...words] }) => !of(table, chain).includes(spelling(words.join(' '))))
      },
    },
    ...{ words: v4, variant: 'nft', settings: () => settings, slices: createSlices(systemClock) },
  })
  await backend.full(frontends)
  const chain = (table: string, name: string) => iptables.tables.get(table)!.get(name)!
  return { iptables, backend, inspector: backend.inspector!, chain, told }
}

const tampered: readonly (readonly [string, (at: Awaited<ReturnType<typeof setUp>>) => void, readonly object[]])[] = [
  ['nothing', () => undefined, []],
  [
    'a rule that is gone',
    ({ chain }) => void chain('nat', 'KUBE-POSTROUTING').pop(),
    [
      {
        place: 'iptables -t nat',
        kind: 'missing',
        what: 'rule in chain KUBE-POSTROUTING',
        wanted: '-j MASQUERADE --random-fully',
      },
    ],
  ],
  [
    'a rule of somebody else in our chain',
    ({ chain }) => void chain('filter', 'KUBE-FORWARD').unshift('-s 192.0.2.1/32 -j DROP'),
    [{ place: 'iptables -t filter', kind: 'foreign', what: 'rule in chain KUBE-FORWARD', found: '-s 192.0.2.1/32 -j DROP' }],
  ],
  [
    'rules in another order',
    ({ chain }) => void chain('filter', 'KUBE-PROXY-REJECT').reverse(),
    [{ kind: 'different', what: 'order or number of the rules of chain KUBE-PROXY-REJECT' }],
  ],
  [
    'a rule twice',
    ({ chain }) => void chain('nat', 'KUBE-MARK-MASQ').push(chain('nat', 'KUBE-MARK-MASQ')[0]!),
    [{ kind: 'different', what: 'order or number of the rules of chain KUBE-MARK-MASQ' }],
  ],
  [
    'a jump that is gone, and one of a kube-proxy',
    ({ chain }) => {
      chain('nat', 'PREROUTING').shift()
      chain('nat', 'OUTPUT').push('-m comment --comment "kubernetes service portals" -j KUBE-SERVICES')
    },
    [
      { kind: 'missing', what: 'rule in chain PREROUTING', wanted: /-j KUBE-SERVICES$/ },
      { kind: 'foreign', what: 'rule in chain OUTPUT', found: /service portals/ },
    ],
  ],
  [
    'a chain that is gone, and one that is left of before',
    ({ iptables }) => {
      iptables.tables.get('nat')!.delete('KUBE-HAIRPIN')
      iptables.tables.get('nat')!.set('KUBE-SVC-AAAAAAAAAAAAAAAA', [])
    },
    [
      { kind: 'missing', what: 'chain KUBE-HAIRPIN' },
      { kind: 'foreign', what: 'chain KUBE-SVC-AAAAAAAAAAAAAAAA' },
    ],
  ],
  [
    'chains and rules of others',
    ({ iptables, chain }) => {
      iptables.tables.get('nat')!.set('DOCKER', ['-j RETURN'])
      chain('nat', 'PREROUTING').push('-j DOCKER')
    },
    [],
  ],
]
t.test('differences', async t => {
  for (const [name, tamper, differences] of tampered)
    t.test(name, async t => {
      const at = await setUp()
      tamper(at)
      const found = await at.inspector.diff()
      t.match(found?.differences, differences)
      t.equal(found?.differences.length, differences.length)
      t.ok((found?.compared ?? 0) > 60, `${found?.compared} pieces`)
    })
})

t.test('what is being written, or was refused, is not compared', async t => {
  const { iptables, backend, inspector } = await setUp()
  const diffing = inspector.diff()
  await backend.apply([{ key: 'gone', before: first, after: undefined }])
  t.equal(await diffing, undefined)
  iptables.refuse(1)
  await t.rejects(backend.full(frontends))
  t.equal(await inspector.diff(), undefined)
  t.match(await inspector.look(first!, nobody, 40), { written: undefined, pieces: [] })
})

t.test('a frontend is asked for by its own rules alone', async t => {
  const { chain, inspector, told } = await setUp()
  const whole = await inspector.look(first!, nobody, 40)
  t.match(whole, { place: 'iptables', written: first, notAsked: 0 })
  t.equal(told[0]?.length, whole.pieces.length)
  t.match(whole.pieces[0], { where: /^nat KUBE-SERVICES-/, key: /^-d 10\.96\.0\.10\/32 -p tcp /, wanted: /^-j KUBE-SVC-/ })
  t.ok(whole.pieces.every(({ wanted, found }) => found === wanted))
  chain('nat', 'KUBE-HAIRPIN').length = 0
  const lacking = (await inspector.look(first!, nobody, 40)).pieces.filter(({ found }) => found === undefined)
  t.match(lacking, [{ where: 'nat KUBE-HAIRPIN' }, { where: 'nat KUBE-HAIRPIN' }])
  t.match(await inspector.look(first!, nobody, 2), { pieces: { length: 2 }, notAsked: whole.pieces.length - 2 })
})
