// Names of the IPVS mode: the device, the ipsets, the chains. Pure. Where kube-proxy has a thing of the same meaning it has the same name,
// so that other software finds it and a kube-proxy that ran before is taken over without a gap.
import type { IPFamily } from '../../api/service-types.ts'
import { type FamilyWords, type Table, v4, v6 } from '../iptables/words.ts'

/** Bears every address of a Service that the node does not have anyway. */
export const device = 'kube-ipvs0'

type SetType = 'hash:ip' | 'hash:ip,port' | 'hash:ip,port,ip' | 'hash:ip,port,net'

interface SetWords {
  /** After `KUBE-` or `KUBE-6-`. */
  readonly name: string
  readonly type: SetType
  readonly hasMarks?: boolean
}

/** All sets. `local` ones hold frontends whose traffic keeps its source address. */
export const sets = {
  /** Local endpoints, each as a caller of itself. */
  loopBack: { name: 'LOOP-BACK', type: 'hash:ip,port,ip' },
  clusterIP: { name: 'CLUSTER-IP', type: 'hash:ip,port' },
  external: { name: 'EXTERNAL-IP', type: 'hash:ip,port' },
  externalLocal: { name: 'EXTERNAL-IP-LOCAL', type: 'hash:ip,port' },
  balancer: { name: 'LOAD-BALANCER', type: 'hash:ip,port' },
  balancerLocal: { name: 'LOAD-BALANCER-LOCAL', type: 'hash:ip,port' },
  nodePort: { name: 'NODE-PORT-HASH', type: 'hash:ip,port' },
  nodePortLocal: { name: 'NODE-PORT-LOCAL-HASH', type: 'hash:ip,port' },
  /** Frontends that not everybody may use, balancers and node ports, and who may. */
  guarded: { name: 'LOAD-BALANCER-FW', type: 'hash:ip,port' },
  sources: { name: 'LOAD-BALANCER-SOURCE-CIDR', type: 'hash:ip,port,net' },
  /** Frontends with other endpoints for this node's own traffic, and the mark that leads there. */
  inside: { name: 'INSIDE', type: 'hash:ip,port', hasMarks: true },
  rejected: { name: 'REJECT', type: 'hash:ip,port' },
  dropped: { name: 'DROP', type: 'hash:ip,port' },
  /** All addresses on the device. */
  addresses: { name: 'IPVS-IPS', type: 'hash:ip' },
} as const satisfies Readonly<Record<string, SetWords>>

export type SetId = keyof typeof sets
export const setIds = Object.keys(sets) as readonly SetId[]

const prefix = { IPv4: 'KUBE-', IPv6: 'KUBE-6-' } as const satisfies Record<IPFamily, string>

// A name holds no more; kube-proxy cuts its own in the same way.
const longestName = 31

/** The name of a set of one family. */
export const setName = (id: SetId, family: IPFamily): string => `${prefix[family]}${sets[id].name}`.slice(0, longestName)

/** The name of a set that is being filled, to be swapped with the one that rules look into. */
export const asideName = (id: SetId, family: IPFamily): string => `${prefix[family]}N-${id}`

/** The words that make a set: `NAME hash:ip,port family inet maxelem 1048576`. */
export const setWords = (id: SetId, family: IPFamily, name = setName(id, family)): string => {
  const { type, hasMarks = false }: SetWords = sets[id]
  return `${name} ${type} family ${family === 'IPv4' ? 'inet' : 'inet6'} maxelem 1048576${hasMarks ? ' skbinfo' : ''}`
}

// Sets that only kube-proxy makes.
const otherSets = [
  'LOAD-BALANCER-SOURCE-IP',
  'NODE-PORT-TCP',
  'NODE-PORT-LOCAL-TCP',
  'NODE-PORT-UDP',
  'NODE-PORT-LOCAL-UDP',
  'NODE-PORT-SCTP-HASH',
  'NODE-PORT-LOCAL-SCTP-HASH',
  'HEALTH-CHECK-NODE-PORT',
]

/** The sets that together have every frontend. */
export const frontendSets = ['clusterIP', 'external', 'externalLocal', 'balancer', 'nodePort', 'nodePortLocal'] as const

/** Names of the sets of one family that a kube-proxy leaves and that we have no use for. */
export const foreignSets = (family: IPFamily): readonly string[] =>
  otherSets.map(name => `${prefix[family]}${name}`.slice(0, longestName))

export type IpvsTable = Table | 'mangle'
export const tables: readonly IpvsTable[] = ['mangle', 'nat', 'filter']

export const chainName = {
  services: 'KUBE-SERVICES',
  balancer: 'KUBE-LOAD-BALANCER',
  markMasquerade: 'KUBE-MARK-MASQ',
  markOffCluster: 'KUBE-MARK-OFF-CLUSTER',
  postrouting: 'KUBE-POSTROUTING',
  forward: 'KUBE-FORWARD',
  filter: 'KUBE-IPVS-FILTER',
  outFilter: 'KUBE-IPVS-OUT-FILTER',
  ranges: 'KUBE-SOURCE-RANGES-FIREWALL',
  inside: 'KUBE-INSIDE',
} as const

// Chains of kube-proxy's IPVS mode that ours has no use for.
const otherChains = ['KUBE-NODE-PORT', 'KUBE-PROXY-FIREWALL']
const ownChains: ReadonlySet<string> = new Set([...Object.values(chainName), ...otherChains])

/** True for the chains that this mode makes, and those of kube-proxy's IPVS mode. */
export const isIpvsChain = (name: string): boolean => ownChains.has(name)

export interface IpvsWords {
  readonly family: IPFamily
  readonly iptables: FamilyWords
}

/** Both families. */
export const families: readonly IpvsWords[] = [
  { family: 'IPv4', iptables: v4 },
  { family: 'IPv6', iptables: v6 },
]
