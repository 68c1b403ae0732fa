// The security context of containers and sandboxes as the runtime takes it, and the refusal of root where it is not wanted. Pure.
// What the pod says is the default for its containers; a container's own word wins, field by field.
// Follows k8s.io: Configure a Security Context; Seccomp; AppArmor; User Namespaces; Using sysctls.

import { isAbsolute, join, normalize } from 'node:path'
import type {
  Capability,
  LinuxContainerSecurityContext,
  LinuxSandboxSecurityContext,
  NamespaceOption,
  SecurityProfile as RuntimeProfile,
  UserNamespace,
} from '../api/cri/types.ts'
import { allContainers } from '../api/pod.ts'
import type { Container, Pod, SecurityContext, SecurityProfile } from '../api/types.ts'
import { Fault } from '../host/fault.ts'
import { toSysctlName } from './sysctls.ts'

export interface SecurityOptions {
  /** Where Localhost profiles are: `<rootDir>/seccomp`. */
  readonly seccompRoot: string
  /** KubeletConfiguration seccompDefault: RuntimeDefault for containers that name no profile. */
  readonly seccompDefault: boolean
  /** Paths that this machine hides in addition to the usual ones: `/sys/devices/system/cpu/cpu0/thermal_throttle`. */
  readonly maskedPaths?: readonly string[]
  /** Supplemental groups that volumes ask for. */
  readonly extraGroups?: readonly number[]
  /** Mappings of a pod with hostUsers false. */
  readonly userNamespace?: UserNamespace
}

/** The user that an image names: by number, or by a name that only the image can resolve. */
export interface ImageUser {
  readonly uid?: number
  readonly username?: string
}

const masked = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
]
const readOnly = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']

// as it stands in the kubelet's messages, which people search for
const podName = (pod: Pod): string => `${pod.metadata.name}_${pod.metadata.namespace ?? ''}(${pod.metadata.uid ?? ''})`
const quoted = (text: string): string => JSON.stringify(text)

const refuse = (pod: Pod, message: string): Fault =>
  new Fault('container-config', message, {
    retry: 'backoff',
    reason: 'CreateContainerConfigError',
    object: `pod ${podName(pod)}`,
  })

/** The container's security context with what it takes over from the pod. */
export const effectiveContext = (pod: Pod, container: Container): SecurityContext => {
  const { runAsUser, runAsGroup, runAsNonRoot, seLinuxOptions } = pod.spec.securityContext ?? {}
  return {
    ...(runAsUser !== undefined && { runAsUser }),
    ...(runAsGroup !== undefined && { runAsGroup }),
    ...(runAsNonRoot !== undefined && { runAsNonRoot }),
    ...(seLinuxOptions !== undefined && { seLinuxOptions }),
    ...container.securityContext,
  }
}

const toSeccomp = (pod: Pod, profile: SecurityProfile | undefined, options: SecurityOptions): RuntimeProfile => {
  if (profile === undefined) return { profileType: options.seccompDefault ? 'RuntimeDefault' : 'Unconfined' }
  if (profile.type !== 'Localhost') return { profileType: profile.type }
  const name = profile.localhostProfile ?? ''
  if (name === '') throw refuse(pod, 'seccomp: localhostProfile must be set when the type is Localhost')
  const inside = normalize(name)
  if (isAbsolute(inside) || inside === '..' || inside.startsWith('../')) {
    throw refuse(pod, `seccomp: localhostProfile ${quoted(name)} must stay inside ${options.seccompRoot}`)
  }
  return { profileType: 'Localhost', localhostRef: join(options.seccompRoot, inside) }
}

const appArmorAnnotation = 'container.apparmor.security.beta.kubernetes.io/'

const fromAnnotation = (value: string | undefined): SecurityProfile | undefined => {
  if (value === 'runtime/default') return { type: 'RuntimeDefault' }
  if (value === 'unconfined') return { type: 'Unconfined' }
  return value?.startsWith('localhost/') ? { type: 'Localhost', localhostProfile: value.slice('localhost/'.length) } : undefined
}

/** The container's AppArmor profile: its own, that of the old annotation (static pods still carry it), the pod's. */
export const appArmorProfile = (pod: Pod, container: Container): SecurityProfile | undefined =>
  container.securityContext?.appArmorProfile ??
  fromAnnotation(pod.metadata.annotations?.[`${appArmorAnnotation}${container.name}`]) ??
  pod.spec.securityContext?.appArmorProfile

const toAppArmor = (pod: Pod, container: Container): Pick<LinuxContainerSecurityContext, 'apparmor' | 'apparmorProfile'> => {
  const profile = appArmorProfile(pod, container)
  if (profile === undefined) return {}
  if (profile.type === 'RuntimeDefault')
    return { apparmor: { profileType: 'RuntimeDefault' }, apparmorProfile: 'runtime/default' }
  if (profile.type === 'Unconfined') return { apparmor: { profileType: 'Unconfined' }, apparmorProfile: 'unconfined' }
  const name = profile.localhostProfile ?? ''
  if (name === '') throw refuse(pod, 'apparmor: localhostProfile must be set when the type is Localhost')
  return { apparmor: { profileType: 'Localhost', localhostRef: name }, apparmorProfile: `localhost/${name}` }
}

// names go as they are written: the runtime knows them with and without CAP_, and ALL
const toCapabilities = ({ capabilities }: SecurityContext): Capability | undefined =>
  capabilities && { addCapabilities: capabilities.add ?? [], dropCapabilities: capabilities.drop ?? [] }

/** fsGroup first: it is the group of the pod's volumes. */
const supplementalGroups = (pod: Pod, extra: readonly number[]): readonly number[] => {
  const { fsGroup, supplementalGroups: named = [] } = pod.spec.securityContext ?? {}
  return [...(fsGroup === undefined ? [] : [fsGroup]), ...named, ...extra]
}

const groupsPolicy = (pod: Pod): Pick<LinuxSandboxSecurityContext, 'supplementalGroupsPolicy'> => {
  const policy = pod.spec.securityContext?.supplementalGroupsPolicy
  return policy === undefined ? {} : { supplementalGroupsPolicy: policy }
}

/** The namespaces that the pod shares with the node or between its containers. */
export const namespaceOptions = (pod: Pod, userNamespace?: UserNamespace): NamespaceOption => ({
  network: pod.spec.hostNetwork ? 'NODE' : 'POD',
  ipc: pod.spec.hostIPC ? 'NODE' : 'POD',
  pid: pod.spec.hostPID ? 'NODE' : pod.spec.shareProcessNamespace ? 'POD' : 'CONTAINER',
  usernsOptions: userNamespace ?? { mode: 'NODE' },
})

/** Ephemeral containers only: the processes they look at are those of this container. */
const targeted = (options: NamespaceOption, targetId: string | undefined): NamespaceOption =>
  targetId !== undefined && options.pid === 'CONTAINER' ? { ...options, pid: 'TARGET', targetId } : options

/**
 * The security context of a container.
 * @param user what its image says of the user; used when the spec names none
 * @param targetId the container whose processes an ephemeral container shares
 * @throws Fault `container-config` for a Localhost profile without a name or outside its folder
 */
export const containerSecurity = (
  pod: Pod,
  container: Container,
  user: ImageUser,
  options: SecurityOptions,
  targetId?: string,
): LinuxContainerSecurityContext => {
  const context = effectiveContext(pod, container)
  const capabilities = toCapabilities(context)
  const unmasked = context.procMount === 'Unmasked'
  const { runAsUser, runAsGroup, seLinuxOptions } = context
  const byImage = {
    ...(user.uid !== undefined && { runAsUser: { value: user.uid } }),
    ...(user.username !== undefined && user.username !== '' && { runAsUsername: user.username }),
  }
  return {
    ...(capabilities && { capabilities }),
    privileged: context.privileged ?? false,
    readonlyRootfs: context.readOnlyRootFilesystem ?? false,
    noNewPrivs: context.allowPrivilegeEscalation === false,
    ...(runAsUser === undefined ? byImage : { runAsUser: { value: runAsUser } }),
    ...(runAsGroup !== undefined && { runAsGroup: { value: runAsGroup } }),
    supplementalGroups: supplementalGroups(pod, options.extraGroups ?? []),
    ...groupsPolicy(pod),
    ...(seLinuxOptions !== undefined && { selinuxOptions: seLinuxOptions }),
    seccomp: toSeccomp(pod, container.securityContext?.seccompProfile ?? pod.spec.securityContext?.seccompProfile, options),
    ...toAppArmor(pod, container),
    maskedPaths: unmasked ? [] : [...masked, ...(options.maskedPaths ?? [])],
    readonlyPaths: unmasked ? [] : readOnly,
    namespaceOptions: targeted(namespaceOptions(pod, options.userNamespace), targetId),
  }
}

/** The security context of the sandbox; its own processes always run under the runtime's seccomp profile. */
export const sandboxSecurity = (
  pod: Pod,
  options: Pick<SecurityOptions, 'extraGroups' | 'userNamespace'> = {},
): LinuxSandboxSecurityContext => {
  const { runAsUser, runAsGroup, seLinuxOptions } = pod.spec.securityContext ?? {}
  return {
    privileged: allContainers(pod).some(container => container.securityContext?.privileged === true),
    seccomp: { profileType: 'RuntimeDefault' },
    namespaceOptions: namespaceOptions(pod, options.userNamespace),
    ...(runAsUser !== undefined && { runAsUser: { value: runAsUser } }),
    ...(runAsGroup !== undefined && { runAsGroup: { value: runAsGroup } }),
    supplementalGroups: supplementalGroups(pod, options.extraGroups ?? []),
    ...groupsPolicy(pod),
    ...(seLinuxOptions !== undefined && { selinuxOptions: seLinuxOptions }),
  }
}

/** The pod's sysctls for the sandbox. */
export const sandboxSysctls = (pod: Pod): Readonly<Record<string, string>> =>
  Object.fromEntries((pod.spec.securityContext?.sysctls ?? []).map(({ name, value }) => [toSysctlName(name), value]))

const largestUid = 2 ** 31 - 1

/**
 * Refuses a container that must not run as root and would, or might.
 * @throws Fault `container-config`, reason CreateContainerConfigError, with the kubelet's words
 */
export const verifyRunAsNonRoot = (pod: Pod, container: Container, user: ImageUser): void => {
  const { runAsNonRoot, runAsUser } = effectiveContext(pod, container)
  if (runAsNonRoot !== true) return
  const where = `(pod: ${quoted(podName(pod))}, container: ${container.name})`
  if (runAsUser !== undefined) {
    if (runAsUser === 0) throw refuse(pod, `container's runAsUser breaks non-root policy ${where}`)
    return
  }
  const { uid, username = '' } = user
  if (uid === undefined && username !== '') {
    throw refuse(
      pod,
      `container has runAsNonRoot and image has non-numeric user (${username}), cannot verify user is non-root ${where}`,
    )
  }
  if (uid === 0) throw refuse(pod, `container has runAsNonRoot and image will run as root ${where}`)
  if (uid !== undefined && (uid < 0 || uid > largestUid)) {
    throw refuse(
      pod,
      `container has runAsNonRoot and image has an invalid user id (${uid}). (Must be 1-(${largestUid})) ${where}`,
    )
  }
}
