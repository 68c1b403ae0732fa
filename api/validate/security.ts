// Rules for the security context of pods and containers. Pure. Follows k8s.io: Configure a Security Context; sysctls; seccomp; AppArmor.
import type { PodSpec, SecurityContext, SecurityProfile } from '../types.ts'
import { descendingPath, sysctlName, uniqueness } from './names.ts'
import type { Report } from './problem.ts'

const largestId = 2 ** 31 - 1

const checkId = (report: Report, path: string, id: number | undefined): void => {
  if (id !== undefined && (id < 0 || id > largestId)) report(path, id, `want a number from 0 to ${largestId}`)
}

const checkProfile = (report: Report, path: string, profile: SecurityProfile | undefined, isPath: boolean): void => {
  if (profile === undefined) return
  const { type, localhostProfile: local } = profile
  const at = `${path}.localhostProfile`
  if (type !== 'Localhost') {
    if (local !== undefined) report(at, local, 'only with type: Localhost')
  } else if (local === undefined || local.trim() !== local || local === '')
    report(at, local, 'required with type: Localhost, without spaces around it')
  else if (isPath && !descendingPath.ok(local)) report(at, local, descendingPath.want)
}

/** Reports what is wrong with a container's security context. */
export const checkSecurity = (report: Report, path: string, context: SecurityContext | undefined, hostUsers: boolean): void => {
  if (context === undefined) return
  checkId(report, `${path}.runAsUser`, context.runAsUser)
  checkId(report, `${path}.runAsGroup`, context.runAsGroup)
  checkProfile(report, `${path}.seccompProfile`, context.seccompProfile, true)
  checkProfile(report, `${path}.appArmorProfile`, context.appArmorProfile, false)
  if (context.procMount === 'Unmasked' && hostUsers) report(`${path}.procMount`, context.procMount, 'needs spec.hostUsers: false')
  if (context.allowPrivilegeEscalation === false) {
    if (context.privileged === true)
      report(`${path}.allowPrivilegeEscalation`, false, 'cannot be false in a privileged container')
    if (context.capabilities?.add?.includes('CAP_SYS_ADMIN'))
      report(`${path}.allowPrivilegeEscalation`, false, 'cannot be false with CAP_SYS_ADMIN')
  }
  if ('windowsOptions' in context) report(`${path}.windowsOptions`, undefined, 'this node runs Linux')
}

const isOfNamespace = (sysctl: string, prefixes: readonly string[]): boolean => {
  const dotted = sysctl.replaceAll('/', '.')
  return prefixes.some(prefix => dotted.startsWith(prefix))
}

/** Reports what is wrong with a pod's security context. */
export const checkPodSecurity = (report: Report, spec: PodSpec): void => {
  const context = spec.securityContext ?? {}
  const path = 'spec.securityContext'
  checkId(report, `${path}.runAsUser`, context.runAsUser)
  checkId(report, `${path}.runAsGroup`, context.runAsGroup)
  checkId(report, `${path}.fsGroup`, context.fsGroup)
  for (const [index, id] of (context.supplementalGroups ?? []).entries())
    checkId(report, `${path}.supplementalGroups[${index}]`, id)
  checkProfile(report, `${path}.seccompProfile`, context.seccompProfile, true)
  checkProfile(report, `${path}.appArmorProfile`, context.appArmorProfile, false)
  const unique = uniqueness(report)
  for (const [index, { name }] of (context.sysctls ?? []).entries()) {
    const at = `${path}.sysctls[${index}].name`
    if (!sysctlName.ok(name)) report(at, name, sysctlName.want)
    else unique(at, name, name.replaceAll('/', '.'))
    if (spec.hostNetwork && isOfNamespace(name, ['net.'])) report(at, name, "cannot be set in the host's network namespace")
    if (spec.hostIPC && isOfNamespace(name, ['kernel.shm', 'kernel.msg', 'kernel.sem', 'fs.mqueue.']))
      report(at, name, "cannot be set in the host's IPC namespace")
  }
  if ('windowsOptions' in context) report(`${path}.windowsOptions`, undefined, 'this node runs Linux')
}
