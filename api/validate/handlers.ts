// Rules for probes and lifecycle hooks. Pure. Follows k8s.io: Liveness, Readiness and Startup Probes; Container Lifecycle Hooks.
import type { Container, Handler, Lifecycle, LifecycleHandler, Probe } from '../types.ts'
import { checkPort, checkPortOrName, headerName } from './names.ts'
import type { Report } from './problem.ts'

const checkOne = (report: Report, path: string, handler: object, kinds: readonly string[]): void => {
  const given = kinds.filter(kind => kind in handler)
  if (given.length === 0) report(path, undefined, `want one of ${kinds.join(', ')}`)
  if (given.length > 1) report(path, undefined, `want only one of ${given.join(', ')}`)
}

const checkHandler = (report: Report, path: string, { exec, httpGet, tcpSocket }: Handler): void => {
  if (exec && (exec.command?.length ?? 0) === 0)
    report(`${path}.exec.command`, exec.command, 'want at least the name of a program')
  if (httpGet) {
    checkPortOrName(report, `${path}.httpGet.port`, httpGet.port)
    for (const [index, header] of (httpGet.httpHeaders ?? []).entries()) {
      if (!headerName.ok(header.name)) report(`${path}.httpGet.httpHeaders[${index}].name`, header.name, headerName.want)
    }
  }
  if (tcpSocket) checkPortOrName(report, `${path}.tcpSocket.port`, tcpSocket.port)
}

const counts = ['initialDelaySeconds', 'timeoutSeconds', 'periodSeconds', 'successThreshold', 'failureThreshold'] as const

const checkProbe = (report: Report, path: string, probe: Probe, which: 'liveness' | 'readiness' | 'startup'): void => {
  checkOne(report, path, probe, ['exec', 'httpGet', 'tcpSocket', 'grpc'])
  checkHandler(report, path, probe)
  if (probe.grpc) checkPort(report, `${path}.grpc.port`, probe.grpc.port)
  for (const name of counts) {
    const value = probe[name]
    if (value !== undefined && value < 0) report(`${path}.${name}`, value, 'want a number of at least 0')
  }
  if (which !== 'readiness' && probe.successThreshold !== undefined && probe.successThreshold !== 1) {
    report(`${path}.successThreshold`, probe.successThreshold, `want 1: a ${which} probe needs one success`)
  }
  const grace = probe.terminationGracePeriodSeconds
  if (grace === undefined) return
  if (which === 'readiness')
    report(`${path}.terminationGracePeriodSeconds`, grace, 'a readiness probe never ends its container: leave it out')
  else if (grace < 1) report(`${path}.terminationGracePeriodSeconds`, grace, 'want a number above 0')
}

/** Reports what is wrong with a container's probes. */
export const checkProbes = (report: Report, path: string, container: Container): void => {
  if (container.livenessProbe) checkProbe(report, `${path}.livenessProbe`, container.livenessProbe, 'liveness')
  if (container.readinessProbe) checkProbe(report, `${path}.readinessProbe`, container.readinessProbe, 'readiness')
  if (container.startupProbe) checkProbe(report, `${path}.startupProbe`, container.startupProbe, 'startup')
}

const checkHook = (report: Report, path: string, hook: LifecycleHandler, grace: number): void => {
  checkOne(report, path, hook, ['exec', 'httpGet', 'tcpSocket', 'sleep'])
  checkHandler(report, path, hook)
  const seconds = hook.sleep?.seconds
  if (seconds !== undefined && (seconds < 0 || seconds > grace)) {
    report(`${path}.sleep.seconds`, seconds, `want 0 to the pod's terminationGracePeriodSeconds (${grace})`)
  }
}

const signals = new Set(
  (
    'ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP ' +
    'TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX'
  )
    .split(' ')
    .map(name => `SIG${name}`),
)
const isSignal = (name: string): boolean => signals.has(name) || /^SIG(RTMIN\+([1-9]|1[0-5])|RTMAX-([1-9]|1[0-4]))$/.test(name)

/** Reports what is wrong with a container's hooks and stop signal. */
export const checkLifecycle = (
  report: Report,
  path: string,
  lifecycle: Lifecycle,
  grace: number,
  osName: string | undefined,
): void => {
  if (lifecycle.postStart) checkHook(report, `${path}.postStart`, lifecycle.postStart, grace)
  if (lifecycle.preStop) checkHook(report, `${path}.preStop`, lifecycle.preStop, grace)
  const signal = lifecycle.stopSignal
  if (signal === undefined) return
  if (osName === undefined) report(`${path}.stopSignal`, signal, 'needs spec.os.name: linux')
  else if (!isSignal(signal)) report(`${path}.stopSignal`, signal, 'want a signal such as SIGTERM or SIGRTMIN+3')
}
