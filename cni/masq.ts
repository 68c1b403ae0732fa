// The table nodelet-cni as text: what leaves the pod ranges gets the host's address, hostPorts lead to their pods, and nothing from
// the bridge reaches the host's loopback. Written whole, in one transaction that replaces the table, at start and after somebody
// flushed it; single hostPorts come and go as elements (portmap.ts). Pure.
//
// A hostPort's reply must come back through the host to be translated back. A pod on the same bridge would get it directly,
// and one that answers 127.0.0.1 would answer itself: these two are masqueraded, by a mark set before the translation and
// taken back where no map has the port. All others reach the pod with their own address, as with the reference portmap plugin.

import { type Cidr, type Family, parseCidr } from '../host/address.ts'
import { signatureSet, signedReplacement } from '../host/nftmonitor.ts'
import { type Network, toRangeSets } from './conf.ts'
import { type PortElement, portElements, table } from './portmap.ts'
import type { Attachment } from './store.ts'

/** The packet mark of flows to be masqueraded; the reference portmap plugin's bit, which others leave alone. */
const mark = '0x2000'
const unmark = '0xffffdfff'

const multicast = { IPv4: '224.0.0.0/4', IPv6: 'ff00::/8' } as const

const subnetsOf = (networks: readonly Network[]): readonly Cidr[] =>
  networks.flatMap(network => toRangeSets(network.ranges).flatMap(set => set.map(range => range.subnet)))

const masqueraded = (networks: readonly Network[]): readonly Cidr[] => subnetsOf(networks.filter(network => network.ipMasq))

const texts = (cidrs: readonly Cidr[], family: Family): readonly string[] => [
  ...new Set(cidrs.filter(cidr => cidr.family === family).map(cidr => cidr.text)),
]

const body = (elements: readonly string[]): string => (elements.length === 0 ? '' : ` elements = { ${elements.join(', ')} };`)

const mapText = (name: string, key: string, target: string, elements: readonly PortElement[]): string =>
  `  map ${name} { typeof ${key} : ${target};${body(elements.filter(it => it.map === name).map(it => `${it.key} : ${it.target}`))} }`

const words = { IPv4: { address: 'ip', digit: 4 }, IPv6: { address: 'ip6', digit: 6 } } as const
const families = ['IPv4', 'IPv6'] as const

const mapsText = (family: Family, elements: readonly PortElement[]): readonly string[] => {
  const { address, digit } = words[family]
  return [
    mapText(`hostports${digit}`, `${address} daddr . meta l4proto . th dport`, `${address} daddr . th dport`, elements),
    mapText(`anyports${digit}`, 'meta l4proto . th dport', `${address} daddr . th dport`, elements),
  ]
}

const sourceRules = (cidrs: readonly Cidr[], what: string): readonly string[] =>
  families.flatMap(family => texts(cidrs, family).map(text => `    ${words[family].address} saddr ${text} ${what}`))

/** Leaves alone what stays among pods or where the configuration says so. Whoever jumps here comes from a pod. */
const masqueradeChain = (family: Family, networks: readonly Network[]): readonly string[] => {
  const { address, digit } = words[family]
  const exempt = networks.flatMap(network => network.nonMasqueradeCIDRs.map(text => parseCidr(text) as Cidr))
  const unchanged = [...texts([...subnetsOf(networks), ...exempt], family), multicast[family]]
  return [
    `  chain leave${digit} {`,
    ...unchanged.map(text => `    ${address} daddr ${text} return`),
    '    masquerade fully-random',
    '  }',
  ]
}

// Ranges stand in rules and not in sets: the kernel shows the content of a set of intervals only a moment after the rules of the same
// transaction are in use, and a connection that began in that moment would leave with the pod's own address.
const chains = (networks: readonly Network[], bridges: readonly string[]): readonly string[] => [
  '  chain hostports {',
  ...sourceRules(subnetsOf(networks), `meta mark set meta mark or ${mark}`),
  `    ip saddr 127.0.0.0/8 meta mark set meta mark or ${mark}`,
  '    dnat ip to ip daddr . meta l4proto . th dport map @hostports4',
  '    dnat ip to meta l4proto . th dport map @anyports4',
  '    dnat ip6 to ip6 daddr . meta l4proto . th dport map @hostports6',
  // The kernel sends nothing from ::1 to another interface, translated or not.
  '    ip6 daddr != ::1 dnat ip6 to meta l4proto . th dport map @anyports6',
  `    meta mark set meta mark and ${unmark}`,
  '  }',
  ...families.flatMap(family => masqueradeChain(family, networks)),
  // Behind the Services' chains, as in the order of the iptables world: a node port wins over a hostPort.
  '  chain prerouting { type nat hook prerouting priority -95; policy accept; fib daddr type local jump hostports; }',
  '  chain output { type nat hook output priority -95; policy accept; fib daddr type local jump hostports; }',
  '  chain postrouting {',
  '    type nat hook postrouting priority 100; policy accept;',
  `    meta mark and ${mark} == ${mark} masquerade fully-random`,
  ...families.flatMap(family =>
    texts(masqueraded(networks), family).map(text => {
      const { address, digit } = words[family]
      return `    ${address} saddr ${text} jump leave${digit}`
    }),
  ),
  '  }',
  // route_localnet would otherwise let a pod talk to services that listen on 127.0.0.1 only (CVE-2020-8558).
  '  chain loopback {',
  '    type filter hook prerouting priority -300; policy accept;',
  ...bridges.map(bridge => `    iifname "${bridge}" ip daddr 127.0.0.0/8 drop`),
  '  }',
]

/** One transaction that puts the whole table in place of whatever is there; connections keep their translation. */
export const tableText = (networks: readonly Network[], attachments: readonly Attachment[]): string => {
  const elements = attachments.flatMap(portElements)
  return signedReplacement(table, [
    `table ${table} {`,
    `  set ${signatureSet} { type mark; }`,
    ...families.flatMap(family => mapsText(family, elements)),
    ...chains(networks, [...new Set(networks.map(network => network.bridge))]),
    '}',
  ])
}
