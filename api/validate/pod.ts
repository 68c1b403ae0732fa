// Rules for a pod of a folder, as the apiserver would check it, and what a node without an apiserver cannot give it. Pure.
// Works on a pod with its defaults; the shape is checked before (pod-schema.ts). Follows k8s.io: Pod v1; Init Containers; Sidecar Containers.
import { isSidecar } from '../pod.ts'
import type { Container, Pod, PodSpec } from '../types.ts'
import { checkEnvironment } from './environment.ts'
import { checkLifecycle, checkProbes } from './handlers.ts'
import { checkLabels, checkMetadata } from './metadata.ts'
import {
  check,
  checkPort,
  dnsLabel,
  dnsSubdomain,
  ipAddress,
  portName,
  qualifiedName,
  searchDomain,
  uniqueness,
} from './names.ts'
import type { Report } from './problem.ts'
import { checkPodResources, checkResources } from './resources.ts'
import { checkPodSecurity, checkSecurity } from './security.ts'
import { checkMounts, checkVolumes } from './volumes.ts'

const checkPorts = (report: Report, path: string, container: Container, hostNetwork: boolean): void => {
  const unique = uniqueness(report)
  for (const [index, port] of (container.ports ?? []).entries()) {
    const at = `${path}.ports[${index}]`
    check(report, `${at}.name`, port.name, portName)
    if (port.name) unique(`${at}.name`, port.name)
    checkPort(report, `${at}.containerPort`, port.containerPort)
    if (port.hostPort !== undefined && port.hostPort !== 0) checkPort(report, `${at}.hostPort`, port.hostPort)
    if (hostNetwork && port.hostPort !== port.containerPort) {
      report(`${at}.hostPort`, port.hostPort, `want ${port.containerPort}, the containerPort: the pod is in the host's network`)
    }
    check(report, `${at}.hostIP`, port.hostIP, ipAddress)
  }
}

// Host ports of all containers that run at the same time; an init container alone shares them with nobody.
const checkHostPorts = (report: Report, spec: PodSpec): void => {
  const claim = (unique: ReturnType<typeof uniqueness>, path: string, container: Container) => {
    for (const [index, { hostPort, hostIP = '', protocol = 'TCP' }] of (container.ports ?? []).entries()) {
      if (hostPort) unique(`${path}.ports[${index}].hostPort`, hostPort, `${protocol}/${hostIP}/${hostPort}`)
    }
  }
  const together = uniqueness(report)
  for (const [index, container] of (spec.initContainers ?? []).entries()) {
    claim(isSidecar(container) ? together : uniqueness(report), `spec.initContainers[${index}]`, container)
  }
  for (const [index, container] of spec.containers.entries()) claim(together, `spec.containers[${index}]`, container)
}

const checkRestartRules = (report: Report, path: string, container: Container): void => {
  const rules = container.restartPolicyRules ?? []
  if (rules.length > 0 && container.restartPolicy === undefined)
    report(`${path}.restartPolicy`, undefined, 'required with restartPolicyRules')
  if (rules.length > 20) report(`${path}.restartPolicyRules`, undefined, `${rules.length} rules: want at most 20`)
  for (const [index, rule] of rules.entries()) {
    const at = `${path}.restartPolicyRules[${index}].exitCodes`
    if (rule.action === 'RestartAllContainers')
      report(`${path}.restartPolicyRules[${index}].action`, rule.action, 'not supported by this node yet: want Restart')
    if (rule.exitCodes === undefined) report(at, undefined, 'required')
    else if (rule.exitCodes.values.length > 255) report(`${at}.values`, undefined, 'want at most 255 values')
  }
}

interface Surroundings {
  readonly spec: PodSpec
  /** Of each volume's name whether it is an emptyDir. */
  readonly volumes: ReadonlyMap<string, boolean>
  readonly uniqueName: ReturnType<typeof uniqueness>
}

const checkContainer = (
  report: Report,
  path: string,
  container: Container,
  { spec, volumes, uniqueName }: Surroundings,
): void => {
  check(report, `${path}.name`, container.name, dnsLabel, true)
  uniqueName(`${path}.name`, container.name)
  if (container.image.trim() === '') report(`${path}.image`, container.image, 'want the name of an image')
  else if (container.image.trim() !== container.image)
    report(`${path}.image`, container.image, 'want it without spaces around it')
  checkPorts(report, path, container, spec.hostNetwork ?? false)
  checkEnvironment(report, path, container, volumes)
  checkMounts(report, path, container, volumes)
  checkResources(report, `${path}.resources`, container.resources ?? {})
  checkSecurity(report, `${path}.securityContext`, container.securityContext, spec.hostUsers ?? true)
  checkRestartRules(report, path, container)
  if (container.targetContainerName !== undefined)
    report(`${path}.targetContainerName`, container.targetContainerName, 'only for ephemeral containers')
}

const checkRunning = (report: Report, path: string, container: Container, spec: PodSpec): void => {
  checkProbes(report, path, container)
  if (container.lifecycle) {
    checkLifecycle(report, `${path}.lifecycle`, container.lifecycle, spec.terminationGracePeriodSeconds ?? 30, spec.os?.name)
  }
}

const checkContainers = (report: Report, spec: PodSpec): void => {
  const volumes = new Map((spec.volumes ?? []).map(volume => [volume.name, volume.emptyDir !== undefined]))
  const surroundings = { spec, volumes, uniqueName: uniqueness(report) }
  if (spec.containers.length === 0) report('spec.containers', spec.containers, 'want at least one container')
  for (const [index, container] of spec.containers.entries()) {
    const path = `spec.containers[${index}]`
    checkContainer(report, path, container, surroundings)
    checkRunning(report, path, container, spec)
  }
  for (const [index, container] of (spec.initContainers ?? []).entries()) {
    const path = `spec.initContainers[${index}]`
    checkContainer(report, path, container, surroundings)
    if (isSidecar(container)) checkRunning(report, path, container, spec)
    else {
      for (const field of ['livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle'] as const) {
        if (container[field])
          report(`${path}.${field}`, undefined, 'an init container has none unless its restartPolicy is Always')
      }
    }
  }
  checkHostPorts(report, spec)
}

const checkDns = (report: Report, { dnsPolicy, dnsConfig, hostAliases }: PodSpec): void => {
  const { nameservers = [], searches = [], options = [] } = dnsConfig ?? {}
  const path = 'spec.dnsConfig'
  if (dnsPolicy === 'None' && nameservers.length === 0)
    report(`${path}.nameservers`, undefined, 'want at least one with dnsPolicy: None')
  if (nameservers.length > 3) report(`${path}.nameservers`, nameservers, 'want at most 3')
  for (const [index, server] of nameservers.entries()) check(report, `${path}.nameservers[${index}]`, server, ipAddress, true)
  if (searches.length > 32 || searches.join(' ').length > 2048)
    report(`${path}.searches`, undefined, 'want at most 32 domains of 2048 characters together')
  for (const [index, domain] of searches.entries()) check(report, `${path}.searches[${index}]`, domain, searchDomain, true)
  for (const [index, option] of options.entries())
    if (option.name === '') report(`${path}.options[${index}].name`, '', 'required')
  for (const [index, alias] of (hostAliases ?? []).entries()) {
    check(report, `spec.hostAliases[${index}].ip`, alias.ip, ipAddress, true)
    for (const [at, name] of (alias.hostnames ?? []).entries())
      check(report, `spec.hostAliases[${index}].hostnames[${at}]`, name, dnsSubdomain, true)
  }
}

const refusals: Readonly<Record<string, string>> = {
  ephemeralContainers: 'ephemeral containers are added to a running pod, not written into its manifest',
  resourceClaims: 'resource claims need a control plane',
  schedulingGates: 'a pod of a folder is on its node already: nobody would open the gate',
  schedulingGroup: 'a pod of a folder is on its node already: nobody schedules it',
  hostnameOverride: 'not supported yet: use hostname and subdomain',
}

const checkSpec = (report: Report, spec: PodSpec): void => {
  for (const [field, why] of Object.entries(refusals)) if (field in spec) report(`spec.${field}`, undefined, why)
  const { terminationGracePeriodSeconds: grace = 30, activeDeadlineSeconds: deadline } = spec
  if (grace < 0) report('spec.terminationGracePeriodSeconds', grace, 'want a number of at least 0')
  if (deadline !== undefined && (deadline < 1 || deadline > 2 ** 31 - 1))
    report('spec.activeDeadlineSeconds', deadline, 'want a number above 0')
  if (spec.shareProcessNamespace && spec.hostPID)
    report('spec.shareProcessNamespace', true, 'want only one of shareProcessNamespace, hostPID')
  if (spec.hostUsers === false) {
    for (const field of ['hostNetwork', 'hostPID', 'hostIPC'] as const)
      if (spec[field]) report(`spec.${field}`, true, 'not with hostUsers: false')
  }
  check(report, 'spec.hostname', spec.hostname, dnsLabel)
  check(report, 'spec.subdomain', spec.subdomain, dnsLabel)
  for (const field of ['nodeName', 'serviceAccountName', 'priorityClassName', 'runtimeClassName'] as const) {
    check(report, `spec.${field}`, spec[field], dnsSubdomain)
  }
  checkLabels(report, 'spec.nodeSelector', spec.nodeSelector)
  for (const [index, gate] of (spec.readinessGates ?? []).entries()) {
    check(report, `spec.readinessGates[${index}].conditionType`, gate.conditionType, qualifiedName, true)
  }
  if (spec.os?.name === 'windows') report('spec.os.name', 'windows', 'this node runs Linux')
}

/** Reports everything that is wrong with a pod that has its defaults. */
export const checkPod = (report: Report, pod: Pod): void => {
  checkMetadata(report, pod, dnsSubdomain)
  checkSpec(report, pod.spec)
  checkVolumes(report, pod.spec)
  checkContainers(report, pod.spec)
  checkPodResources(report, pod.spec)
  checkPodSecurity(report, pod.spec)
  checkDns(report, pod.spec)
}
