// Reads what the runtime shows of a pod into values (agent/seen.ts). Statuses that cannot change any more are remembered, so that
// a look at a pod costs two list calls and one status call for each thing that is new.
// That a container was killed for lack of memory is said where the runtime or the kernel knows it.
// A container's exit is announced before the runtime's own record shows it: whoever was told so waits here until it does.
import type { Cri } from '../api/cri/cri.ts'
import type * as cri from '../api/cri/types.ts'
import type { Clock, Millis } from '../host/clock.ts'
import { except, Fault } from '../host/fault.ts'
import {
  containerNameLabel,
  hashAnnotation,
  podNameLabel,
  podNamespaceLabel,
  podUidLabel,
  restartCountAnnotation,
} from './labels.ts'
import { readTerminationMessage } from './messages.ts'
import type { OomWitness } from './oom.ts'
import type { ContainerSeen, ContainerStateSeen, SandboxSeen, Seen } from './seen.ts'
import { configSeenAnnotation } from './sources/identity.ts'

export type ObserveCri = Pick<Cri, 'listPodSandbox' | 'podSandboxStatus' | 'listContainers' | 'containerStatus'>

export interface Observer {
  /** The pod as the runtime shows it now. @throws Fault of the runtime */
  look(podUid: string): Promise<Seen>
  /** The pods that the runtime knows, and what of them is alive: the cheap form that a relist compares. */
  relist(): Promise<ReadonlyMap<string, PodSketch>>
  /** A container or sandbox was said to have ended: the next look waits until the runtime's record says so too. */
  expectExit(id: string): void
  /** A sandbox that was just made. @throws Fault */
  sandbox(id: string): Promise<SandboxSeen>
  /** One container as it is now, past what is remembered of it. @throws Fault */
  container(id: string, sandboxId: string): Promise<ContainerSeen>
  forget(ids: readonly string[]): void
}

/** A pod that the runtime knows: who it is, and the states of its sandboxes and containers by id. */
export interface PodSketch {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly states: ReadonlyMap<string, string>
}

/** Whether a pod that was looked at earlier still is as the relist shows it. */
export const isAsSeen = ({ sandboxes, containers }: Seen, sketch: PodSketch): boolean =>
  sandboxes.length + containers.length === sketch.states.size &&
  sandboxes.every(it => sketch.states.get(it.id) === (it.ready ? 'SANDBOX_READY' : 'SANDBOX_NOTREADY')) &&
  containers.every(it => sketch.states.get(it.id) === it.state)

// Pauses while the runtime's record lags behind its event: 8 s in all, most exits show in the first few milliseconds.
const settlePausesMs = [2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000]

// As runtimes name it, and `kubectl` shows it.
const oomKilled = { reason: 'OOMKilled', exitCode: 137 } as const

export interface ObserverDeps {
  readonly runtime: ObserveCri
  readonly oom: Pick<OomWitness, 'watch' | 'sawKill'>
  readonly clock: Clock
}

export const createObserver = ({ runtime, oom, clock }: ObserverDeps): Observer => {
  const known = new Map<string, ContainerSeen>()
  const sandboxes = new Map<string, SandboxSeen>()
  const expected = new Set<string>()

  const settle = async (podUid: string) => {
    const labelSelector = { [podUidLabel]: podUid }
    let lagging: readonly string[] = []
    for (const pause of [0, ...settlePausesMs]) {
      if (pause > 0) await clock.sleep(pause)
      const [pods, containers] = await Promise.all([
        runtime.listPodSandbox({ labelSelector }),
        runtime.listContainers({ labelSelector }),
      ])
      const alive = [
        ...pods.filter(it => it.state === 'SANDBOX_READY'),
        ...containers.filter(it => it.state === 'CONTAINER_RUNNING'),
      ]
      lagging = alive.map(it => it.id).filter(id => expected.has(id))
      if (lagging.length === 0) {
        for (const it of [...pods, ...containers]) expected.delete(it.id)
        return { pods, containers }
      }
    }
    for (const id of lagging) expected.delete(id)
    throw new Fault('runtime-refused', 'the runtime does not show the end of a container')
  }

  const sandboxSeen = async (it: cri.PodSandbox, isNewest: boolean): Promise<SandboxSeen | undefined> => {
    const ready = it.state === 'SANDBOX_READY'
    const before = sandboxes.get(it.id)
    if (before !== undefined && before.ready === ready) return before
    const answer = ready && isNewest ? await except(runtime.podSandboxStatus(it.id), 'not-found') : undefined
    if (ready && isNewest && answer === undefined) return undefined
    return remember(toSandboxSeen(it, answer?.status))
  }

  const remember = (seen: SandboxSeen): SandboxSeen => {
    sandboxes.set(seen.id, seen)
    return seen
  }

  const containerSeen = async (it: cri.Container): Promise<ContainerSeen | undefined> => {
    const before = known.get(it.id)
    if (before !== undefined && before.state === stateNames[it.state]) return before
    const answer = await except(runtime.containerStatus(it.id), 'not-found')
    if (answer === undefined) return undefined
    return rememberContainer(await withCause(it.labels, await toContainerSeen(it.podSandboxId, answer.status)))
  }

  /** Asked of every end, so that the next one is not told of this one's. */
  const withCause = async (labels: Readonly<Record<string, string>>, seen: ContainerSeen): Promise<ContainerSeen> => {
    const podUid = labels[podUidLabel]
    if (seen.state !== 'exited' || podUid === undefined) return seen
    const sawKill = await oom.sawKill(podUid, seen.id)
    return sawKill && seen.exitCode === oomKilled.exitCode ? { ...seen, reason: oomKilled.reason } : seen
  }

  /** An exited container's record does not change any more, a running one's not until its state does. */
  const rememberContainer = (seen: ContainerSeen): ContainerSeen => {
    if (seen.state === 'exited' || seen.state === 'running') known.set(seen.id, seen)
    return seen
  }

  return {
    look: async podUid => {
      await oom.watch(podUid)
      const { pods, containers } = await settle(podUid)
      const byAge = [...pods].sort(newestFirst)
      const [seenSandboxes, seenContainers] = await Promise.all([
        Promise.all(byAge.map((it, index) => sandboxSeen(it, index === 0))),
        Promise.all([...containers].sort(newestFirst).map(containerSeen)),
      ])
      return {
        sandboxes: seenSandboxes.filter(it => it !== undefined),
        containers: seenContainers.filter(it => it !== undefined),
      }
    },
    relist: async () => {
      const [pods, containers] = await Promise.all([runtime.listPodSandbox(), runtime.listContainers()])
      return sketch(pods, containers)
    },
    expectExit: id => void expected.add(id),
    sandbox: async id => {
      const { status } = await runtime.podSandboxStatus(id)
      return remember(toSandboxSeen(status, status))
    },
    container: async (id, sandboxId) => {
      const { status } = await runtime.containerStatus(id)
      return rememberContainer(await withCause(status.labels, await toContainerSeen(sandboxId, status)))
    },
    forget: ids => {
      for (const id of ids) {
        known.delete(id)
        sandboxes.delete(id)
        expected.delete(id)
      }
    },
  }
}

type Aged = Pick<cri.PodSandbox | cri.Container, 'createdAt'> & { readonly metadata: { readonly attempt: number } }

const newestFirst = (a: Aged, b: Aged): number => b.createdAt - a.createdAt || b.metadata.attempt - a.metadata.attempt

const sketch = (pods: readonly cri.PodSandbox[], containers: readonly cri.Container[]): ReadonlyMap<string, PodSketch> => {
  const found = new Map<string, PodSketch>()
  for (const it of [...pods, ...containers]) {
    const uid = it.labels[podUidLabel]
    if (uid === undefined || uid === '') continue
    const state = it.state === 'SANDBOX_READY' || it.state === 'SANDBOX_NOTREADY' ? it.state : stateNames[it.state]
    found.set(uid, {
      uid,
      name: it.labels[podNameLabel] ?? '',
      namespace: it.labels[podNamespaceLabel] ?? '',
      states: new Map([...(found.get(uid)?.states ?? []), [it.id, state]]),
    })
  }
  return found
}

const stateNames: Readonly<Record<cri.ContainerState, ContainerStateSeen>> = {
  CONTAINER_CREATED: 'created',
  CONTAINER_RUNNING: 'running',
  CONTAINER_EXITED: 'exited',
  CONTAINER_UNKNOWN: 'unknown',
}

// Go's zero time is a large negative number of nanoseconds: it means that there is no such time.
const toMillis = (nanoseconds: number): number => Math.max(Math.floor(nanoseconds / 1e6), 0)

const podSeenAt = (annotations: Readonly<Record<string, string>>): { readonly podSeenAt?: Millis } => {
  const at = Date.parse(annotations[configSeenAnnotation] ?? '')
  return Number.isNaN(at) ? {} : { podSeenAt: at }
}

const toSandboxSeen = (it: cri.PodSandbox, status: cri.PodSandboxStatus | undefined): SandboxSeen => ({
  id: it.id,
  attempt: it.metadata.attempt,
  ready: it.state === 'SANDBOX_READY',
  createdAt: toMillis(it.createdAt),
  ...podSeenAt(it.annotations),
  hostNetwork: status?.linux?.namespaces?.options?.network === 'NODE',
  ips: status?.network ? [status.network.ip, ...status.network.additionalIps.map(more => more.ip)].filter(ip => ip !== '') : [],
})

const toContainerSeen = async (sandboxId: string, it: cri.ContainerStatus): Promise<ContainerSeen> => {
  const state = stateNames[it.state]
  return {
    id: it.id,
    name: it.labels[containerNameLabel] ?? it.metadata.name,
    sandboxId,
    state,
    createdAt: toMillis(it.createdAt),
    startedAt: toMillis(it.startedAt),
    finishedAt: toMillis(it.finishedAt),
    exitCode: it.exitCode,
    reason: it.reason,
    message: state === 'exited' ? await readTerminationMessage(it) : '',
    image: it.image?.userSpecifiedImage || it.image?.image || '',
    imageRef: it.imageRef,
    restartCount: Number(it.annotations[restartCountAnnotation] ?? it.metadata.attempt),
    hash: it.annotations[hashAnnotation],
    logPath: it.logPath,
    ...(it.user?.linux && { user: it.user.linux }),
    ...(it.resources?.linux && { resources: toResourcesSeen(it.resources.linux) }),
  }
}

const toResourcesSeen = (it: cri.LinuxContainerResources): NonNullable<ContainerSeen['resources']> => ({
  cpuPeriod: it.cpuPeriod ?? 0,
  cpuQuota: it.cpuQuota ?? 0,
  cpuShares: it.cpuShares ?? 0,
  memoryLimitInBytes: it.memoryLimitInBytes ?? 0,
})
