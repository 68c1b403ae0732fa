// What a Service says about routing, one value per port and IP family: a pure reading of the object, no policy yet.
// Follows kube-proxy's view of a Service (k8s.io: Virtual IPs and Service Proxies): ExternalName and headless ones have nothing to route,
// one with the label service-proxy-name belongs to another program, a load balancer address with ipMode Proxy is left to the balancer.
import type { Protocol } from '../api/meta.ts'
import type { IPFamily, Service } from '../api/service-types.ts'
import { canonicalAddress, distinctRanges } from './address.ts'

export interface ServicePortInfo {
  /** namespace/name */
  readonly service: string
  /** When the Service was made: the older one keeps an address that two of them claim. */
  readonly created: string
  /** The port's name; '' when it has none. */
  readonly name: string
  readonly family: IPFamily
  readonly protocol: Protocol
  readonly clusterIP: string
  readonly port: number
  /** 0 when there is none. */
  readonly nodePort: number
  readonly externalIPs: readonly string[]
  readonly loadBalancerIPs: readonly string[]
  readonly internalLocal: boolean
  readonly externalLocal: boolean
  /** 0 when clients are not remembered. */
  readonly affinitySeconds: number
  /** Ranges that may use the load balancer; undefined when everybody may. */
  readonly sourceRanges: readonly string[] | undefined
}

const proxyNameLabel = 'service.kubernetes.io/service-proxy-name'
const everybody: Readonly<Record<IPFamily, string>> = { IPv4: '0.0.0.0/0', IPv6: '::/0' }

// The API server fills this in; a manifest of a folder may leave it out.
const defaultAffinitySeconds = 10_800

const isRouted = ({ metadata, spec }: Service): boolean =>
  spec.type !== 'ExternalName' && spec.clusterIP !== 'None' && metadata.labels?.[proxyNameLabel] === undefined

const ofFamily = (addresses: readonly string[], family: IPFamily): readonly string[] => [
  ...new Set(addresses.map(text => canonicalAddress(text, family)).filter(address => address !== undefined)),
]

const loadBalancerIPs = (service: Service): readonly string[] =>
  service.spec.type !== 'LoadBalancer'
    ? []
    : (service.status?.loadBalancer?.ingress ?? []).filter(({ ipMode }) => ipMode !== 'Proxy').flatMap(({ ip }) => ip ?? [])

const sourceRanges = (service: Service, family: IPFamily): readonly string[] | undefined => {
  const asked = service.spec.loadBalancerSourceRanges ?? []
  if (service.spec.type !== 'LoadBalancer' || asked.length === 0) return undefined
  const ranges = distinctRanges(asked, family)
  return ranges.includes(everybody[family]) ? undefined : ranges
}

/** Every port of a Service in one family; empty when it has no cluster IP of this family or is not ours to route. */
export const toServicePorts = (service: Service, family: IPFamily): readonly ServicePortInfo[] => {
  if (!isRouted(service)) return []
  const { metadata, spec } = service
  const clusterIP = ofFamily(spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : []), family)[0]
  if (clusterIP === undefined) return []
  const exposed = spec.type === 'NodePort' || spec.type === 'LoadBalancer'
  const shared = {
    service: `${metadata.namespace ?? ''}/${metadata.name}`,
    created: metadata.creationTimestamp ?? '',
    family,
    clusterIP,
    externalIPs: ofFamily(spec.externalIPs ?? [], family),
    loadBalancerIPs: ofFamily(loadBalancerIPs(service), family),
    internalLocal: spec.internalTrafficPolicy === 'Local',
    externalLocal: spec.externalTrafficPolicy === 'Local' && (exposed || (spec.externalIPs ?? []).length > 0),
    affinitySeconds:
      spec.sessionAffinity === 'ClientIP' ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds) : 0,
    sourceRanges: sourceRanges(service, family),
  }
  return (spec.ports ?? []).map(port => ({
    ...shared,
    name: port.name ?? '',
    protocol: port.protocol ?? 'TCP',
    port: port.port,
    nodePort: exposed ? (port.nodePort ?? 0) : 0,
  }))
}
