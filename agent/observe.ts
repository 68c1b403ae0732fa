// Reads what the runtime shows of a pod into values (agent/seen.ts). Statuses that cannot change any more are remembered, so that
// a look at a pod costs two list calls and one status call for each thing that is new.
// A container's exit is announced before the runtime's own record shows it: whoever was told so waits here until it does.
import type { Cri } from '../api/cri/client.ts'
import type * as cri from '../api/cri/types.ts'
import type { Clock } from '../host/clock.ts'
import { isFault } from '../host/fault.ts'
import { containerNameLabel, hashAnnotation, podUidLabel, restartCountAnnotation } from './labels.ts'
import { readTerminationMessage } from './messages.ts'
import type { ContainerSeen, ContainerStateSeen, SandboxSeen, Seen } from './seen.ts'

export type ObserveCri = Pick<Cri, 'listPodSandbox' | 'podSandboxStatus' | 'listContainers' | 'containerStatus'>

export interface Observer {
  /** The pod as the runtime shows it now. @throws Fault of the runtime */
  look(podUid: string): Promise<Seen>
  /** The pods that the runtime knows, and what of them is alive: the cheap form that a relist compares. */
  relist(): Promise<ReadonlyMap<string, PodSketch>>
  /** A container or sandbox was said to have ended: the next look waits until the runtime's record says so too. */
  expectExit(id: string): void
  forget(ids: readonly string[]): void
}

/** A pod that the runtime knows: who it is, and a text that changes whenever something of it does. */
export interface PodSketch {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly fingerprint: string
  /** Ids of containers and sandboxes. */
  readonly ids: readonly string[]
}

// Pauses while the runtime's record lags behind its event: 8 s in all, most exits show in the first few milliseconds.
const settlePausesMs = [2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000]

export const createObserver = ({ runtime, clock }: { runtime: ObserveCri; clock: Clock }): Observer => {
  const ended = new Map<string, ContainerSeen>()
  const sandboxes = new Map<string, SandboxSeen>()
  const expected = new Set<string>()

  const settle = async (podUid: string) => {
    const labelSelector = { [podUidLabel]: podUid }
    for (const pause of [0, ...settlePausesMs]) {
      if (pause > 0) await clock.sleep(pause)
      const [pods, containers] = await Promise.all([
        runtime.listPodSandbox({ labelSelector }),
        runtime.listContainers({ labelSelector }),
      ])
      const lags = (id: string, alive: boolean) => alive && expected.has(id)
      const lagging =
        pods.some(it => lags(it.id, it.state === 'SANDBOX_READY')) ||
        containers.some(it => lags(it.id, it.state === 'CONTAINER_RUNNING'))
      if (!lagging || pause === settlePausesMs.at(-1)) {
        for (const it of [...pods, ...containers]) expected.delete(it.id)
        return { pods, containers }
      }
    }
    throw new Error('unreachable: the last pause returns')
  }

  const sandboxSeen = async (it: cri.PodSandbox, isNewest: boolean): Promise<SandboxSeen | undefined> => {
    const ready = it.state === 'SANDBOX_READY'
    const known = sandboxes.get(it.id)
    if (known !== undefined && known.ready === ready) return known
    const answer = ready && isNewest ? await ifThere(runtime.podSandboxStatus(it.id)) : undefined
    if (ready && isNewest && answer === undefined) return undefined
    const network = answer?.status.network
    const seen: SandboxSeen = {
      id: it.id,
      attempt: it.metadata.attempt,
      ready,
      createdAt: toMillis(it.createdAt),
      hostNetwork: answer?.status.linux?.namespaces?.options?.network === 'NODE',
      ips: network ? [network.ip, ...network.additionalIps.map(more => more.ip)].filter(ip => ip !== '') : [],
    }
    sandboxes.set(it.id, seen)
    return seen
  }

  const containerSeen = async (it: cri.Container): Promise<ContainerSeen | undefined> => {
    const known = ended.get(it.id)
    if (known !== undefined && known.state === stateNames[it.state]) return known
    const answer = await ifThere(runtime.containerStatus(it.id))
    if (answer === undefined) return undefined
    const seen = await toContainerSeen(it.podSandboxId, answer.status)
    // A running container's record does not change either, until its state does.
    if (seen.state === 'exited' || seen.state === 'running') ended.set(it.id, seen)
    return seen
  }

  return {
    look: async podUid => {
      const { pods, containers } = await settle(podUid)
      const byAge = [...pods].sort((a, b) => b.createdAt - a.createdAt)
      const [seenSandboxes, seenContainers] = await Promise.all([
        Promise.all(byAge.map((it, index) => sandboxSeen(it, index === 0))),
        Promise.all([...containers].sort((a, b) => b.createdAt - a.createdAt).map(containerSeen)),
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
    forget: ids => {
      for (const id of ids) {
        ended.delete(id)
        sandboxes.delete(id)
        expected.delete(id)
      }
    },
  }
}

const sketch = (pods: readonly cri.PodSandbox[], containers: readonly cri.Container[]): ReadonlyMap<string, PodSketch> => {
  const found = new Map<string, PodSketch>()
  for (const it of [...pods, ...containers]) {
    const uid = it.labels[podUidLabel]
    if (uid === undefined || uid === '') continue
    const before = found.get(uid)
    found.set(uid, {
      uid,
      name: it.labels['io.kubernetes.pod.name'] ?? '',
      namespace: it.labels['io.kubernetes.pod.namespace'] ?? '',
      fingerprint: `${before?.fingerprint ?? ''}${it.id} ${it.state}\n`,
      ids: [...(before?.ids ?? []), it.id],
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

const toMillis = (nanoseconds: number): number => Math.floor(nanoseconds / 1e6)

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
  }
}

const ifThere = async <T>(call: Promise<T>): Promise<T | undefined> => {
  try {
    return await call
  } catch (error) {
    if (isFault(error, 'not-found')) return undefined
    throw error
  }
}
