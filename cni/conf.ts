// The network configuration: text in, a complete and checked NetworkConf out, or a fault that names the field. Pure.
// Fields are those of the reference plugins bridge, host-local, portmap and bandwidth where these have one,
// so that a configuration can be carried over; IPAM is part of this plugin, its ranges stand beside the bridge.
import * as v from 'valibot'
import { type Cidr, contains, parseAddress, parseCidr } from '../host/address.ts'
import { type Range, type RangeSet, usable } from './ipam.ts'
import { CniFault, type CniVersion, cniCodes, supportedVersions } from './spec.ts'

export type Protocol = 'tcp' | 'udp' | 'sctp'

export interface PortMapping {
  readonly hostPort: number
  readonly containerPort: number
  readonly protocol: Protocol
  /** Canonical address to listen on; empty for all addresses of both families, `0.0.0.0` and `::` for all of one. */
  readonly hostIP: string
}

/** Bits per second and bits, as the runtime passes the kubernetes.io/{ingress,egress}-bandwidth annotations on; 0 is no limit. */
export interface Bandwidth {
  readonly ingressRate: number
  readonly ingressBurst: number
  readonly egressRate: number
  readonly egressBurst: number
}

export interface AttachmentKey {
  readonly containerId: string
  readonly ifname: string
}

/** What stays the same from pod to pod; kept on disk so that the base can be made again without a call. */
export interface Network {
  readonly name: string
  readonly bridge: string
  /** 0: that of the interface with the default route. */
  readonly mtu: number
  /** CIDR texts; the ranges in their written form, so that the file reads as the configuration does. */
  readonly ranges: readonly (readonly RangeText[])[]
  readonly routes: readonly { readonly dst: string; readonly gw?: string }[]
  readonly ipMasq: boolean
  /** Destinations beside the pod ranges that see pods with their own address: the cluster's range, for one. */
  readonly nonMasqueradeCIDRs: readonly string[]
  readonly hairpinMode: boolean
  readonly promiscMode: boolean
}

export interface RangeText {
  readonly subnet: string
  readonly rangeStart?: string
  readonly rangeEnd?: string
  readonly gateway?: string
}

export interface NetworkConf {
  readonly cniVersion: CniVersion
  readonly type: string
  readonly dataDir: string
  readonly network: Network
  readonly ports: readonly PortMapping[]
  readonly bandwidth: Bandwidth | undefined
  readonly prevResult: PrevResult | undefined
  readonly validAttachments: readonly AttachmentKey[] | undefined
}

export const defaultDataDir = '/var/lib/nodelet/cni'
export const defaultBridge = 'nodelet0'

const ip = v.pipe(
  v.string(),
  v.check(text => parseAddress(text) !== undefined, 'is not an IP address'),
)
const cidr = v.pipe(
  v.string(),
  v.check(text => parseCidr(text) !== undefined, 'is not an address range such as 10.244.0.0/24'),
)
const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535))
const bits = v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0)
const linkName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][\w.-]{0,14}$/, 'is not the name of an interface'))
const absolute = v.pipe(v.string(), v.regex(/^\/\S*$/, 'is not an absolute path'))
const rangeText = v.object({
  subnet: cidr,
  rangeStart: v.exactOptional(ip),
  rangeEnd: v.exactOptional(ip),
  gateway: v.exactOptional(ip),
})

const prevResultSchema = v.object({
  interfaces: v.optional(
    v.array(v.object({ name: v.string(), mac: v.optional(v.string()), sandbox: v.optional(v.string()) })),
    [],
  ),
  ips: v.optional(v.array(v.object({ address: cidr, gateway: v.optional(v.string()), interface: v.optional(v.number()) })), []),
  routes: v.optional(v.array(v.object({ dst: cidr, gw: v.optional(v.string()) })), []),
})
export type PrevResult = v.InferOutput<typeof prevResultSchema>

// containerd writes the capabilities from Go structs without field names (`HostPort`), and readers in Go take any case.
const anyCase = (fields: readonly string[]) =>
  v.pipe(
    v.record(v.string(), v.unknown()),
    v.transform(given => {
      const names = new Map(fields.map(field => [field.toLowerCase(), field]))
      return Object.fromEntries(Object.entries(given).map(([key, value]) => [names.get(key.toLowerCase()) ?? key, value]))
    }),
  )

const portMappingSchema = v.pipe(
  anyCase(['hostPort', 'containerPort', 'protocol', 'hostIP']),
  v.object({
    hostPort: port,
    containerPort: v.pipe(port, v.minValue(1)),
    protocol: v.pipe(v.optional(v.string(), 'tcp'), v.toLowerCase(), v.picklist(['tcp', 'udp', 'sctp'])),
    hostIP: v.optional(v.union([v.literal(''), ip]), ''),
  }),
)

const bandwidthSchema = v.pipe(
  anyCase(['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst']),
  v.object({ ingressRate: bits, ingressBurst: bits, egressRate: bits, egressBurst: bits }),
)

const schema = v.object({
  name: v.pipe(v.string(), v.regex(/^[a-zA-Z0-9][\w.-]*$/, 'is not the name of a network')),
  type: v.string(),
  bridge: v.optional(linkName, defaultBridge),
  mtu: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535)), 0),
  subnets: v.optional(v.array(cidr), []),
  ranges: v.optional(v.array(v.pipe(v.array(rangeText), v.minLength(1))), []),
  routes: v.optional(v.array(v.object({ dst: cidr, gw: v.exactOptional(ip) })), []),
  ipMasq: v.optional(v.boolean(), true),
  nonMasqueradeCIDRs: v.optional(v.array(cidr), []),
  hairpinMode: v.optional(v.boolean(), true),
  promiscMode: v.optional(v.boolean(), false),
  dataDir: v.optional(absolute, defaultDataDir),
  runtimeConfig: v.optional(
    v.object({
      portMappings: v.optional(v.nullable(v.array(portMappingSchema))),
      bandwidth: v.optional(v.nullable(bandwidthSchema)),
    }),
    {},
  ),
  prevResult: v.optional(v.nullable(prevResultSchema)),
  'cni.dev/valid-attachments': v.optional(v.nullable(v.array(v.object({ containerID: v.string(), ifname: v.string() })))),
})

const wrong = (message: string) => new CniFault(cniCodes.invalidConfig, 'bad-config', message, { retry: 'never' })

/** The version that a configuration asks for, before anything else of it is believed; 0.1.0 when it names none. */
export const versionOf = (text: string): string => /"cniVersion"\s*:\s*"([^"]*)"/.exec(text)?.[1] ?? '0.1.0'

const decode = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CniFault(cniCodes.undecodable, 'bad-config', 'the network configuration is not JSON', { cause, retry: 'never' })
  }
}

/** The ranges of a configuration as numbers, per set. @throws CniFault with code 7 that names the range */
export const toRangeSets = (ranges: readonly (readonly RangeText[])[]): readonly RangeSet[] =>
  ranges.map(set => {
    const parsed = set.map(toRange)
    if (new Set(parsed.map(range => range.subnet.family)).size > 1) throw wrong('a set of ranges mixes IPv4 and IPv6')
    return parsed
  })

const toRange = (text: RangeText): Range => {
  const subnet = parseCidr(text.subnet) as Cidr
  const all = usable(subnet)
  if (all.last - all.first < 1n) throw wrong(`subnet ${text.subnet} is too small: it needs a gateway and a pod`)
  const inSubnet = (field: string, value: string | undefined, otherwise: bigint): bigint => {
    if (value === undefined) return otherwise
    const parsed = parseAddress(value)
    if (parsed === undefined || !contains(subnet, parsed) || parsed.value < all.first || parsed.value > all.last)
      throw wrong(`${field} ${value} is not a usable address of subnet ${text.subnet}`)
    return parsed.value
  }
  const first = inSubnet('rangeStart', text.rangeStart, all.first)
  const last = inSubnet('rangeEnd', text.rangeEnd, all.last)
  if (first > last) throw wrong(`rangeStart ${text.rangeStart} is behind rangeEnd ${text.rangeEnd}`)
  return { subnet, first, last, gateway: inSubnet('gateway', text.gateway, all.first) }
}

const checkOverlap = (sets: readonly RangeSet[]) => {
  const all = sets.flat()
  for (const [i, a] of all.entries())
    for (const b of all.slice(i + 1))
      if (a.subnet.family === b.subnet.family && a.first <= b.last && b.first <= a.last)
        throw wrong(`ranges ${a.subnet.text} and ${b.subnet.text} overlap`)
}

/**
 * The configuration of a call.
 * @throws CniFault with code 1 for a version that is not spoken, 6 for text that is no JSON, 7 for a field that cannot be used
 */
export const parseConf = (text: string): NetworkConf => {
  const raw = decode(text)
  const asked = versionOf(text)
  const cniVersion = supportedVersions.find(version => version === asked)
  if (cniVersion === undefined)
    throw new CniFault(
      cniCodes.incompatibleVersion,
      'bad-config',
      `CNI version ${asked} is not spoken, only ${supportedVersions.join(', ')}`,
    )
  const parsed = v.safeParse(schema, raw)
  if (!parsed.success) {
    const [issue] = parsed.issues
    throw wrong(`network configuration: ${v.getDotPath(issue) ?? 'top level'}: ${issue.message}`)
  }
  const {
    type,
    dataDir,
    runtimeConfig,
    prevResult,
    subnets,
    ranges,
    'cni.dev/valid-attachments': valid,
    ...network
  } = parsed.output
  const allRanges = [...ranges, ...subnets.map(subnet => [{ subnet }])]
  if (type !== 'loopback') {
    if (allRanges.length === 0) throw wrong('network configuration: ranges: at least one range or subnet is needed')
    checkOverlap(toRangeSets(allRanges))
  }
  return {
    cniVersion,
    type,
    dataDir,
    network: { ...network, ranges: allRanges },
    ports: (runtimeConfig.portMappings ?? []).filter(mapping => mapping.hostPort > 0),
    bandwidth: runtimeConfig.bandwidth ?? undefined,
    prevResult: prevResult ?? undefined,
    validAttachments: valid?.map(({ containerID, ifname }) => ({ containerId: containerID, ifname })),
  }
}
