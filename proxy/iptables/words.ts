// What differs between iptables and ip6tables, and the names of the chains. Pure.
// Chains that other software looks for have kube-proxy's names; those of a frontend are named by a hash, as a name holds 28 letters.
import { createHash } from 'node:crypto'
import type { Protocol } from '../../api/meta.ts'
import type { IPFamily } from '../../api/service-types.ts'
import { type Frontend, frontendKey } from '../model.ts'

export interface FamilyWords {
  readonly family: IPFamily
  readonly command: 'iptables' | 'ip6tables'
  readonly loopback: string
  /** Where the kernel names the legacy tables that there are. */
  readonly names: string
}

export const v4: FamilyWords = {
  family: 'IPv4',
  command: 'iptables',
  loopback: '127.0.0.0/8',
  names: '/proc/net/ip_tables_names',
}
export const v6: FamilyWords = { family: 'IPv6', command: 'ip6tables', loopback: '::1/128', names: '/proc/net/ip6_tables_names' }

export type Table = 'nat' | 'filter'
export const tables: readonly Table[] = ['nat', 'filter']

/** Chains that stand whatever Services there are; in `filter` those of the same name refuse what was not sent anywhere. */
export const chainName = {
  services: 'KUBE-SERVICES',
  externalServices: 'KUBE-EXTERNAL-SERVICES',
  nodeIPs: 'KUBE-NODE-IPS',
  nodePorts: 'KUBE-NODEPORTS',
  markMasquerade: 'KUBE-MARK-MASQ',
  markOffCluster: 'KUBE-MARK-OFF-CLUSTER',
  hairpin: 'KUBE-HAIRPIN',
  postrouting: 'KUBE-POSTROUTING',
  forward: 'KUBE-FORWARD',
  firewall: 'KUBE-PROXY-FIREWALL',
  reject: 'KUBE-PROXY-REJECT',
  localnet: 'KUBE-PROXY-LOCALNET',
} as const

/** A chain that does nothing: whoever flushes everything takes it away too (kube-proxy has one of this name). */
export const canaryChain = 'KUBE-PROXY-CANARY'
/** Chains that the kernel's abilities are tried on. */
export const probeChains = ['KUBE-PROXY-PROBE', 'KUBE-PROXY-PROBE-OUT'] as const
/** Chains that pass at the beginning and end of each of our transactions. */
export const passingChains = { begin: 'KUBE-PROXY-BEGIN', end: 'KUBE-PROXY-END' } as const

const frontendChain = /^KUBE-(SVC|SVL|EXT|FW|SEP|XLB)-[0-9A-Z]+$/
const shelfChain = /^KUBE-(SERVICES|NODEPORTS)-/
const fixed: ReadonlySet<string> = new Set([...Object.values(chainName), canaryChain, ...probeChains])

/** True for a chain that belongs to one frontend. */
export const isFrontendChain = (name: string): boolean => frontendChain.test(name)

/** True for every chain that a service proxy of this mode makes: ours, and those that a kube-proxy left. */
export const isProxyChain = (name: string): boolean => fixed.has(name) || frontendChain.test(name) || shelfChain.test(name)

// No hexadecimal but letters and digits that kube-proxy's names have too.
const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const hash = (text: string): string =>
  [...createHash('sha256').update(text).digest().subarray(0, 16)].map(byte => alphabet[byte & 31]).join('')

/** The chains of one frontend: `service` picks an endpoint, `external` decides for traffic of any source, `ranges` lets sources in. */
export const frontendChains = (frontend: Frontend) => {
  const id = hash(frontendKey(frontend))
  return { service: `KUBE-SVC-${id}`, external: `KUBE-EXT-${id}`, ranges: `KUBE-FW-${id}` }
}

/** The list of clients (xt_recent) that stay with one endpoint of a frontend. */
export const clientList = (frontend: Frontend, to: { readonly ip: string; readonly port: number }): string =>
  `KUBE-SEP-${hash(`${frontendKey(frontend)} ${to.ip} ${to.port}`)}`

/** A chain that holds a part of a long list, so that neither a packet nor a change has to do with all of it. */
export interface Shelf {
  readonly name: string
  readonly parent: string
  /** What a packet must be for the shelf to concern it. */
  readonly condition: string
}

const lastByte = (ip: string, family: IPFamily): number => {
  if (family === 'IPv4') return Number(ip.slice(ip.lastIndexOf('.') + 1))
  const [, last = '', v4Tail] = /([0-9a-f]*)(?:\.(\d+))?$/i.exec(ip) ?? []
  return v4Tail === undefined ? Number.parseInt(last || '0', 16) & 255 : Number(v4Tail)
}

/** By the last byte of an address: Services of a cluster differ in it, whatever their range. */
export const addressShelf = (ip: string, family: IPFamily): Shelf => {
  const byte = lastByte(ip, family)
  const condition = family === 'IPv4' ? `-d 0.0.0.${byte}/0.0.0.255` : `-d ::${byte.toString(16)}/::ff`
  return { name: `${chainName.services}-${byte.toString(16).padStart(2, '0')}`, parent: chainName.services, condition }
}

const portsPerShelf = 64

/** By protocol and a stretch of ports. */
export const portShelf = (protocol: Protocol, port: number): Shelf => {
  const first = port - (port % portsPerShelf)
  const name = protocol.toLowerCase()
  return {
    name: `${chainName.nodePorts}-${name}-${first}`,
    parent: chainName.nodePorts,
    condition: `-p ${name} --dport ${first}:${first + portsPerShelf - 1}`,
  }
}
