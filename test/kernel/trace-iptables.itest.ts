// What `nodelet trace` and `nodelet diff` say in iptables mode, with both kinds of iptables and for both families: every rule that was
// written is found again in what iptables prints, and what somebody else changed is told rule by rule.
import t from 'tap'
import type { IPFamily, Service } from '../../api/service-types.ts'
import { systemClock } from '../../host/clock.ts'
import { openIptables } from '../../host/iptables.ts'
import { createSlices } from '../../host/loop.ts'
import { addresses, balancedService, type Endpoint, type EndpointState, service, slice } from '../../proxy/backend.contract.ts'
import { createIptablesBackend } from '../../proxy/iptables/backend.ts'
import { type FamilyWords, v4, v6 } from '../../proxy/iptables/words.ts'
import { type Frontend, toFrontends } from '../../proxy/model.ts'
import { defaultSettings, type ProxySettings } from '../../proxy/settings.ts'
import { createNetns } from '../support/netns.ts'

const ready = { ready: true }
const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const node = { name: 'node-1', zone: '', ips: both.map(family => addresses[family].node) }
const settings: ProxySettings = {
  ...defaultSettings,
  nodeIPs: node.ips,
  nodePortAddresses: ['0.0.0.0/0', '::/0'],
  localhostNodePorts: true,
  localTraffic: { by: 'cidr', cidrs: both.map(family => addresses[family].podRange) },
}
const host = await createNetns()
t.teardown(() => host.remove())

const frontendsOf = (
  family: IPFamily,
  at: number,
  one: Service,
  endpoints: Readonly<Partial<Record<Endpoint, EndpointState>>>,
): readonly Frontend[] =>
  toFrontends(one, [slice(family, endpoints)], family, node).map(frontend => ({
    ...frontend,
    // One address each, and one node port.
    ...(frontend.ip === '' ? { port: frontend.port + at } : { ip: frontend.ip.replace(/(\w)$/, `${at}$1`) }),
    service: `default/web-${at}`,
  }))

/** Everything that rules are made of: each policy, affinity, ranges, nobody, many. */
const wanted = (family: IPFamily): readonly Frontend[] => {
  const ranges = family === 'IPv4' ? ['198.51.100.7/24', '0.0.0.0/0'] : ['fd99::1/64', '::/0']
  return [
    ...frontendsOf(family, 1, balancedService(family), { a: ready, b: ready, remote: ready }),
    ...frontendsOf(family, 2, balancedService(family, { externalTrafficPolicy: 'Local', loadBalancerSourceRanges: ranges }), {
      a: ready,
      remote: ready,
    }),
    ...frontendsOf(family, 3, balancedService(family, { sessionAffinity: 'ClientIP' }), { a: ready, b: ready }),
    ...frontendsOf(family, 4, service(family, { internalTrafficPolicy: 'Local' }), { remote: ready }),
    ...frontendsOf(family, 5, balancedService(family, { loadBalancerSourceRanges: ranges }), {}),
  ]
}

const nobody = { from: [], to: [] }
for (const kind of ['nft', 'legacy'])
  for (const words of [v4, v6] satisfies readonly FamilyWords[])
    await t.test(`${words.command}-${kind}`, async t => {
      const command = `${words.command}-${kind}`
      const iptables = await openIptables(host.exec, command)
      const backend = createIptablesBackend({
        ...{ iptables, words, variant: iptables.variant },
        settings: () => settings,
        slices: createSlices(systemClock),
      })
      const { inspector } = backend
      if (inspector === undefined) throw new Error('no inspector')
      const frontends = wanted(words.family)
      t.equal(await inspector.diff(), undefined, 'before anything is written there is nothing to compare')
      await backend.full(frontends)
      const first = await inspector.diff()
      t.same(first?.differences, [], 'what was written is found again, however iptables prints it')
      t.ok((first?.compared ?? 0) > 200)
      for (const frontend of frontends) {
        const { pieces, written, notAsked } = await inspector.look(frontend, nobody, 100)
        t.equal(written, frontend)
        t.equal(notAsked, 0)
        t.ok(pieces.length > 0)
        t.same(
          pieces.filter(({ found }) => found === undefined),
          [],
          `${frontend.kind} of ${frontend.service}`,
        )
      }
      const [gone, ...rest] = frontends
      await backend.apply([{ key: `${gone!.ip} ${gone!.protocol} ${gone!.port}`, before: gone, after: undefined }])
      t.same((await inspector.diff())?.differences, [], 'after a change too')

      const run = (...args: readonly string[]) => host.run([command, '-t', ...args])
      await run('nat', '-D', 'PREROUTING', '1')
      await run('nat', '-F', 'KUBE-HAIRPIN')
      await run('nat', '-A', 'KUBE-SERVICES', '-s', words.family === 'IPv4' ? '192.0.2.1' : 'fd98::1', '-j', 'ACCEPT')
      await run('filter', '-N', 'KUBE-SVC-AAAAAAAAAAAAAAAA')
      await run('filter', '-N', 'OTHERS')
      const found = (await inspector.diff())?.differences ?? []
      const hairpins = found.filter(({ what }) => what === 'rule in chain KUBE-HAIRPIN')
      t.equal(hairpins.length, 2, 'both pods of this node')
      t.match(
        found.filter(it => !hairpins.includes(it)),
        [
          { place: `${words.command} -t nat`, kind: 'missing', what: 'rule in chain PREROUTING', wanted: /-j KUBE-SERVICES$/ },
          { place: `${words.command} -t nat`, kind: 'foreign', what: 'rule in chain KUBE-SERVICES', found: /-j ACCEPT$/ },
          { place: `${words.command} -t filter`, kind: 'foreign', what: 'chain KUBE-SVC-AAAAAAAAAAAAAAAA' },
        ],
      )
      t.equal(found.length, 5, 'chains of others are none of its business')
      const other = rest.find(({ kind: it, service: of }) => it === 'cluster-ip' && of === 'default/web-2')
      const { pieces } = await inspector.look(other!, nobody, 100)
      t.match(
        pieces.filter(piece => piece.found === undefined),
        [{ where: 'nat KUBE-HAIRPIN', wanted: '-j MASQUERADE --random-fully' }],
        'and a trace says which rule is not there',
      )
      await backend.full(rest)
      t.same((await inspector.diff())?.differences, [], 'everything anew puts it right')
    })
