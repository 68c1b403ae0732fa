// Rules for Services, as the apiserver would check them before it allocates addresses and ports. Pure.
// Works on a Service with its defaults. Follows k8s.io: Service v1; Dual-stack. Ranges of node ports are given separately, by who allocates.
import { isIPv6 } from 'node:net'
import type { Service, ServiceSpec } from '../service-types.ts'
import { checkLabels, checkMetadata } from './metadata.ts'
import { check, checkPort, checkPortOrName, cidr, dnsLabel, dnsSubdomain, ipAddress, qualifiedName, uniqueness } from './names.ts'
import type { Report } from './problem.ts'

const isHeadless = (spec: ServiceSpec): boolean => spec.clusterIP === 'None'
const isExternal = ({ type, externalIPs }: ServiceSpec): boolean =>
  type === 'NodePort' || type === 'LoadBalancer' || (type === 'ClusterIP' && (externalIPs?.length ?? 0) > 0)

const checkPorts = (report: Report, spec: ServiceSpec): void => {
  const ports = spec.ports ?? []
  if (ports.length === 0 && !isHeadless(spec) && spec.type !== 'ExternalName')
    report('spec.ports', spec.ports, 'want at least one port')
  const [uniqueName, uniquePort, uniqueNodePort] = [uniqueness(report), uniqueness(report), uniqueness(report)]
  for (const [index, port] of ports.entries()) {
    const at = `spec.ports[${index}]`
    check(report, `${at}.name`, port.name, dnsLabel, ports.length > 1)
    if (port.name) uniqueName(`${at}.name`, port.name)
    checkPort(report, `${at}.port`, port.port)
    uniquePort(`${at}.port`, port.port, `${port.protocol}/${port.port}`)
    checkPortOrName(report, `${at}.targetPort`, port.targetPort ?? port.port)
    check(report, `${at}.appProtocol`, port.appProtocol, qualifiedName)
    if (!port.nodePort) continue
    checkPort(report, `${at}.nodePort`, port.nodePort)
    uniqueNodePort(`${at}.nodePort`, port.nodePort, `${port.protocol}/${port.nodePort}`)
    if (spec.type === 'ClusterIP' || spec.type === 'ExternalName')
      report(`${at}.nodePort`, port.nodePort, 'needs type: NodePort or LoadBalancer')
  }
}

const checkFamilies = (report: Report, { ipFamilies = [] }: ServiceSpec, ips: readonly string[]): void => {
  const unique = uniqueness(report)
  for (const [index, family] of ipFamilies.entries()) {
    unique(`spec.ipFamilies[${index}]`, family)
    const ip = ips[index]
    if (ip !== undefined && ipAddress.ok(ip) && isIPv6(ip) !== (family === 'IPv6')) {
      report(`spec.clusterIPs[${index}]`, ip, `want an ${family} address, as spec.ipFamilies[${index}] says`)
    }
  }
}

const checkClusterIPs = (report: Report, spec: ServiceSpec): void => {
  const { clusterIP = '', clusterIPs } = spec
  const ips = clusterIPs ?? (clusterIP === '' ? [] : [clusterIP])
  const path = clusterIPs === undefined ? () => 'spec.clusterIP' : (index: number) => `spec.clusterIPs[${index}]`
  if (clusterIPs !== undefined && clusterIP !== '' && clusterIPs[0] !== clusterIP)
    report('spec.clusterIPs', clusterIPs, `want ${clusterIP} first, the clusterIP`)
  if (ips[0] === 'None') {
    if (ips.length > 1) report('spec.clusterIPs', ips, 'want None alone')
    if (spec.type !== 'ClusterIP') report(path(0), 'None', 'a headless Service is of type: ClusterIP')
    return
  }
  for (const [index, ip] of ips.entries()) if (!ipAddress.ok(ip)) report(path(index), ip, `${ipAddress.want}, or None`)
  if (ips.length > 2 || (ips.length === 2 && isIPv6(ips[0]!) === isIPv6(ips[1]!)))
    report('spec.clusterIPs', ips, 'want at most one address of each family')
  checkFamilies(report, spec, ips)
}

const checkExternalName = (report: Report, spec: ServiceSpec): void => {
  if (spec.type !== 'ExternalName') return
  const name = spec.externalName?.replace(/\.$/, '')
  check(report, 'spec.externalName', name, dnsSubdomain, true)
  for (const field of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy'] as const) {
    if (spec[field] !== undefined && spec[field] !== '') report(`spec.${field}`, spec[field], 'not with type: ExternalName')
  }
}

const checkPolicies = (report: Report, spec: ServiceSpec): void => {
  if (spec.externalTrafficPolicy !== undefined && !isExternal(spec)) {
    report('spec.externalTrafficPolicy', spec.externalTrafficPolicy, 'needs type: NodePort or LoadBalancer, or externalIPs')
  }
  const timeout = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds
  if (timeout !== undefined && (timeout < 1 || timeout > 86_400)) {
    report('spec.sessionAffinityConfig.clientIP.timeoutSeconds', timeout, 'want 1 to 86400')
  }
  if (spec.healthCheckNodePort) {
    checkPort(report, 'spec.healthCheckNodePort', spec.healthCheckNodePort)
    if (spec.type !== 'LoadBalancer' || spec.externalTrafficPolicy !== 'Local') {
      report('spec.healthCheckNodePort', spec.healthCheckNodePort, 'needs type: LoadBalancer and externalTrafficPolicy: Local')
    }
  }
  for (const field of ['loadBalancerSourceRanges', 'allocateLoadBalancerNodePorts', 'loadBalancerClass'] as const) {
    if (spec[field] !== undefined && spec.type !== 'LoadBalancer')
      report(`spec.${field}`, spec[field], 'needs type: LoadBalancer')
  }
}

const checkAddresses = (report: Report, spec: ServiceSpec): void => {
  for (const [index, ip] of (spec.externalIPs ?? []).entries()) {
    const at = `spec.externalIPs[${index}]`
    if (!ipAddress.ok(ip)) report(at, ip, ipAddress.want)
    else if (/^(127\.|0\.0\.0\.0$|169\.254\.|22[4-9]\.|23\d\.|::1?$|fe[89ab]|ff)/i.test(ip))
      report(at, ip, 'want an address that others can reach: no loopback, link-local or multicast one')
  }
  for (const [index, range] of (spec.loadBalancerSourceRanges ?? []).entries()) {
    if (!cidr.ok(range.trim())) report(`spec.loadBalancerSourceRanges[${index}]`, range, cidr.want)
  }
}

/** Reports everything that is wrong with a Service that has its defaults. */
export const checkService = (report: Report, service: Service): void => {
  checkMetadata(report, service, dnsLabel)
  checkLabels(report, 'spec.selector', service.spec.selector)
  checkPorts(report, service.spec)
  checkExternalName(report, service.spec)
  if (service.spec.type !== 'ExternalName') checkClusterIPs(report, service.spec)
  checkPolicies(report, service.spec)
  checkAddresses(report, service.spec)
}
