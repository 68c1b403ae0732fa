// What another service proxy has left, in both kinds of iptables and in nftables: it goes, and what is not a proxy's stays.
import t from 'tap'
import { silentLog } from '../../host/log.ts'
import { removePredecessors } from '../../proxy/predecessor/predecessors.ts'
import { createNetns, type Netns } from '../support/netns.ts'

const restore = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-TCOU7JCQXEZGVUNU - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:OTHER - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -j OTHER
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-TCOU7JCQXEZGVUNU
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
-A OUTPUT -j KUBE-FIREWALL
COMMIT
`
const tables = ['ip kube-proxy', 'ip6 kube-proxy', 'ip other']

const fill = async (host: Netns) => {
  for (const command of ['iptables-nft', 'ip6tables-nft', 'iptables-legacy'])
    await host.run([`${command}-restore`, '--noflush'], {
      input: restore.replaceAll('10.96.0.1/32', command[2] === '6' ? 'fd00::1' : '10.96.0.1'),
    })
  const input = tables.map(table => `add table ${table}\nadd chain ${table} services\n`).join('')
  await host.run(['nft', '-f', '-'], { input })
}

/** Chains that are not the kernel's own, by the kind of iptables. */
const chains = async (host: Netns, command: string): Promise<readonly string[]> => {
  const { stdout } = await host.run([`${command}-save`])
  return [...stdout.matchAll(/^:(\S+) -/gm)].map(([, name]) => name!).toSorted()
}

for (const [mode, own] of [
  ['nftables', []],
  // The mode's own writing sees to these.
  ['iptables', ['KUBE-FORWARD', 'KUBE-PROXY-CANARY', 'KUBE-SERVICES', 'KUBE-SVC-TCOU7JCQXEZGVUNU']],
] as const)
  t.test(`in mode ${mode}`, async t => {
    const host = await createNetns()
    t.teardown(host.remove)
    await fill(host)
    const isLegacy = (await host.run(['iptables', '--version'])).stdout.includes('legacy')
    const removed = await removePredecessors({ exec: host.exec, mode, log: silentLog })
    t.match(removed.slice(0, 2), ['nftables table ip kube-proxy', 'nftables table ip6 kube-proxy'])
    for (const command of ['iptables-nft', 'ip6tables-nft', 'iptables-legacy']) {
      const kept = command.endsWith('legacy') === isLegacy ? own : []
      t.same(await chains(host, command), [...kept, 'KUBE-FIREWALL', 'OTHER'].toSorted(), command)
    }
    const listed = (await host.run(['nft', 'list', 'tables'])).stdout
    t.match(listed, 'table ip other')
    t.notMatch(listed, 'kube-proxy')
    t.same(await removePredecessors({ exec: host.exec, mode, log: silentLog }), [], 'a second time there is nothing')
  })
