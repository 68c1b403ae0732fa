// Keeps port 53 of the cluster DNS addresses ours. The host owns these addresses, so a pod with hostPort 53 (a DNS server for the
// home network, say) would be given the pods' own questions too. A translation of the address to itself is still a translation:
// once a connection has one, the nat chains after ours leave it alone. Between those of Services (-100), so that a Service may take
// the address over, and those of hostPorts (-95). Owns the table nodelet-dns; compiles it and applies it, whole.

import { parseAddress } from '../../../host/address.ts'
import type { Nft } from '../../../host/nft.ts'
import { signatureSet, signedRemoval, signedReplacement } from '../../../host/nftmonitor.ts'

/** The table of this file, for whoever watches it. */
export const dnsTable = 'inet nodelet-dns'

const keepRule = (address: string): string => {
  const family = parseAddress(address)?.family === 'IPv6' ? 'ip6' : 'ip'
  return `    ${family} daddr ${address} meta l4proto { tcp, udp } th dport 53 dnat ${family} to ${address}`
}

/** One transaction that puts the table in place of whatever is there; signed, so that the watch knows it for ours. */
export const ownPortText = (addresses: readonly string[]): string =>
  signedReplacement(dnsTable, [
    `table ${dnsTable} {`,
    `  set ${signatureSet} { type mark; }`,
    '  chain keep {',
    ...addresses.map(keepRule),
    '  }',
    '  chain prerouting { type nat hook prerouting priority -97; policy accept; jump keep; }',
    '  chain output { type nat hook output priority -97; policy accept; jump keep; }',
    '}',
  ])

/** @throws Fault `kernel-refused` */
export const keepOwnPort = (nft: Pick<Nft, 'apply'>, addresses: readonly string[]): Promise<void> =>
  nft.apply(ownPortText(addresses))

/** Takes the table away; that it is gone already is fine. @throws Fault `kernel-refused` */
export const releaseOwnPort = (nft: Pick<Nft, 'apply'>): Promise<void> => nft.apply(signedRemoval(dnsTable))
