// Lifecycle hooks: postStart and preStop as exec, httpGet or sleep. Runs one and says how it failed; what follows from that
// (a container killed, a grace period used up) is decided by those who call it.
// Follows k8s.io: Container Lifecycle Hooks: no time limit but the caller's, an HTTP answer of any status counts as run,
// HTTPS falls back to HTTP, tcpSocket is refused.
import type { Container, LifecycleHandler, Pod } from '../api/types.ts'
import type { Clock, Seconds } from '../host/clock.ts'
import { describe, Fault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import { type ExecSync, toText } from '../probes/exec.ts'
import type { HttpSender } from '../probes/http.ts'
import { toRequest } from '../probes/request.ts'

export interface HookTarget {
  readonly pod: Pod
  readonly container: Container
  readonly containerId: string
  readonly podIPs: readonly string[]
}

export interface HookDeps {
  readonly cri: ExecSync
  readonly clock: Clock
  readonly log: Log
  /** From probes/http.ts: createHttpSender(clock). */
  readonly sendHttp: HttpSender
}

export interface HookOptions {
  /** Ends the hook after this long; without it only the signal does. */
  readonly timeoutSeconds?: Seconds
  readonly signal: AbortSignal
}

/**
 * Runs a hook to its end.
 * @throws Fault `hook` that names the hook, the container and the pod; also when it takes longer than `timeoutSeconds` or the
 *   signal aborts
 */
export const runHook = async (
  handler: LifecycleHandler,
  target: HookTarget,
  deps: HookDeps,
  { timeoutSeconds, signal }: HookOptions,
): Promise<void> => {
  const deadline = new AbortController()
  const timer = timeoutSeconds === undefined ? undefined : deps.clock.after(timeoutSeconds * 1000, () => deadline.abort())
  const either = AbortSignal.any([deadline.signal, signal])
  try {
    await Promise.race([run(handler, target, deps, either), aborted(either)])
  } catch (error) {
    const reason = deadline.signal.aborted ? `not completed within ${timeoutSeconds}s` : describe(error)
    throw toFault(handler, target, reason, error)
  } finally {
    timer?.cancel()
    deadline.abort()
  }
}

// A runtime that does not heed the signal must not hold up the end of a container.
const aborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    const stop = () => reject(new Error('stopped before it had finished'))
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })

const run = async (handler: LifecycleHandler, target: HookTarget, deps: HookDeps, signal: AbortSignal): Promise<void> => {
  if (handler.exec) return runExec(handler.exec.command ?? [], target, deps, signal)
  if (handler.httpGet) return runHttp(handler.httpGet, target, deps, signal)
  if (handler.sleep) return deps.clock.sleep(handler.sleep.seconds * 1000, signal)
  throw new Error(
    handler.tcpSocket ? 'invalid handler: tcpSocket is not supported as a lifecycle hook' : 'invalid handler: it has no action',
  )
}

const runExec = async (command: readonly string[], { containerId }: HookTarget, { cri }: HookDeps, signal: AbortSignal) => {
  const output = await cri.execSync(containerId, command, 0, { signal })
  if (output.exitCode !== 0) {
    throw new Error(
      `command '${command.join(' ')}' exited with ${output.exitCode}: ${toText(output).trim()}, message: ${JSON.stringify(toText(output))}`,
    )
  }
}

const runHttp = async (
  action: NonNullable<LifecycleHandler['httpGet']>,
  { pod, container, podIPs }: HookTarget,
  { sendHttp, log }: HookDeps,
  signal: AbortSignal,
) => {
  const [podIP] = podIPs
  if (!action.host && podIP === undefined) throw new Error('the pod has no address')
  const request = toRequest(action, container, podIP ?? '', 'lifecycle')
  const reply = await sendHttp(request, undefined, signal)
  if (!('failed' in reply)) return
  if (!reply.plainHttp) throw new Error(reply.failed)
  const { Authorization: _, ...headers } = request.headers
  const plain = await sendHttp({ ...request, headers, secure: false }, undefined, signal)
  if ('failed' in plain) throw new Error(reply.failed)
  log.warn({ pod: pod.metadata.name, container: container.name }, 'an HTTPS lifecycle hook was answered in HTTP')
}

const toFault = (handler: LifecycleHandler, { pod, container }: HookTarget, reason: string, cause: unknown): Fault => {
  const { name, namespace = 'default', uid = '' } = pod.metadata
  const kind = handler.exec
    ? `Exec lifecycle hook ([${(handler.exec.command ?? []).join(' ')}])`
    : handler.httpGet
      ? `HTTP lifecycle hook (${handler.httpGet.path ?? ''})`
      : handler.sleep
        ? `Sleep lifecycle hook (${handler.sleep.seconds})`
        : 'Lifecycle hook'
  return new Fault(
    'hook',
    `${kind} for Container "${container.name}" in Pod "${name}_${namespace}(${uid})" failed - error: ${reason}`,
    {
      cause,
      retry: 'never',
      object: `pod ${namespace}/${name}`,
    },
  )
}
