// Finds what a request names: a pod (also by the short name of a static pod), its container, and the file of its log. Pure.
// What is not there is a Fault that says what is.
import { allContainers, namespaceOf } from '../../api/pod.ts'
import type { ContainerStatus } from '../../api/pod-status.ts'
import type { Pod } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'

/**
 * The pod of that name; a static pod may be named without the `-<nodeName>` that its name ends with, when that is unambiguous.
 * @throws Fault `not-found` with the names that come near
 */
export const findPod = (pods: readonly Pod[], namespace: string, name: string): Pod => {
  const here = pods.filter(it => namespaceOf(it) === namespace)
  const exact = here.find(it => it.metadata.name === name)
  if (exact !== undefined) return exact
  const short = here.filter(it => it.spec.nodeName !== undefined && it.metadata.name === `${name}-${it.spec.nodeName}`)
  if (short.length === 1 && short[0] !== undefined) return short[0]
  const near = nearest(pods, namespace, name)
  const hint = near.length > 0 ? `; there is ${near.join(', ')}` : ''
  throw new Fault('not-found', `pods "${name}" not found in namespace "${namespace}"${hint}`, { retry: 'never' })
}

/** At most three pods whose names resemble the one asked for, those of its own namespace first. */
const nearest = (pods: readonly Pod[], namespace: string, name: string): string[] => {
  const scored = pods.map(pod => {
    const other = pod.metadata.name
    const own = pod.spec.nodeName === undefined ? other : other.replace(`-${pod.spec.nodeName}`, '')
    const part = other.includes(name) || (own.length > 2 && name.includes(own))
    const score = (part ? 0 : distance(name, own)) + (namespaceOf(pod) === namespace ? 0 : 0.5)
    return { score, label: namespaceOf(pod) === namespace ? other : `${namespaceOf(pod)}/${other}` }
  })
  const close = scored.filter(({ score }) => score <= Math.max(2, name.length / 3))
  return close
    .sort((a, b) => a.score - b.score)
    .slice(0, 3)
    .map(({ label }) => label)
}

/** How many letters have to be put in, taken out or changed to get from one name to the other. */
const distance = (from: string, to: string): number => {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const change = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}

/**
 * The name of the container that a request means: the one it names, the pod's default one, or its first.
 * @throws Fault `not-found` with the names of those that are there
 */
export const findContainer = (pod: Pod, name: string | undefined): string => {
  const all = allContainers(pod)
  const wanted = name ?? pod.metadata.annotations?.['kubectl.kubernetes.io/default-container'] ?? all[0]?.name ?? ''
  if (all.some(it => it.name === wanted)) return wanted
  const names = all.map(it => it.name).join(', ')
  throw new Fault('not-found', `container ${wanted} is not valid for pod ${pod.metadata.name}; it has ${names}`, {
    retry: 'never',
  })
}

/** The status of a container of whichever kind. */
export const statusOf = ({ status }: Pod, container: string): ContainerStatus | undefined =>
  [
    ...(status?.containerStatuses ?? []),
    ...(status?.initContainerStatuses ?? []),
    ...(status?.ephemeralContainerStatuses ?? []),
  ].find(it => it.name === container)

/**
 * The id of a running container, as the runtime knows it.
 * @throws Fault `not-found` when it does not run
 */
export const runningId = (pod: Pod, container: string): string => {
  const status = statusOf(pod, container)
  const id = status?.state?.running && status.containerID?.replace(/^.*:\/\//, '')
  if (id) return id
  const state = status?.state?.waiting?.reason ?? (status?.state?.terminated ? 'terminated' : 'not created yet')
  throw new Fault('not-found', `container "${container}" in pod "${pod.metadata.name}" does not run (${state})`, {
    retry: 'never',
  })
}

/**
 * Which of a container's log files a request means: that of its newest attempt, or with `previous` that of the one which
 * ended before it.
 * @param files the names in the container's log folder
 * @returns the attempt, whose log is `<attempt>.log`
 * @throws Fault `not-found` when there is none
 */
export const findAttempt = (pod: Pod, container: string, previous: boolean, files: readonly string[]): number => {
  const attempts = files.flatMap(file => (/^\d+\.log$/.test(file) ? [Number.parseInt(file, 10)] : [])).sort((a, b) => b - a)
  const status = statusOf(pod, container)
  const [newest] = attempts
  if (!previous) {
    if (newest !== undefined) return newest
    const reason = status?.state?.waiting?.reason ?? 'ContainerCreating'
    const message = `container "${container}" in pod "${pod.metadata.name}" is waiting to start: ${reason}`
    throw new Fault('not-found', message, { retry: 'never' })
  }
  // While it waits to be started again, the newest attempt is the one that ended.
  const current = status?.state?.waiting && status.lastState?.terminated ? undefined : newest
  const ended = attempts.find(attempt => attempt !== current)
  if (ended !== undefined) return ended
  throw new Fault('not-found', `previous terminated container "${container}" in pod "${pod.metadata.name}" not found`, {
    retry: 'never',
  })
}
