// An agent on a runtime in memory and a clock that the test moves; volumes and cgroups only remember what they were asked.
import { createCriFake, type FakeCriDeps } from '../api/cri/cri.fake.ts'
import { createStore } from '../api/source.ts'
import type { TaskEvent } from '../api/task-event.ts'
import type { ConfigMap, Container, Pod, PodSpec, Secret } from '../api/types.ts'
import { type FakeClock, fakeClock } from '../host/clock.fake.ts'
import { Fault } from '../host/fault.ts'
import { silentLog } from '../host/log.ts'
import { createAgent } from './agent.ts'
import { toContainerConfig } from './container.ts'
import { createImages } from './images.ts'
import type { WantedPods } from './pods.ts'
import { containerLimits, containerRequests, podRequests } from './qos.ts'
import { toSandboxConfig } from './sandbox.ts'
import { container } from './seen.fake.ts'
import { createTimeline } from './timeline.ts'
import { references } from './volumes/plan.ts'

/** Where the runtime's events go: to the agent that lives now. */
interface Feed {
  onEvent: (event: TaskEvent) => void
}

export interface Setup {
  /** Taken over from an earlier agent: the runtime and its clock stay, the agent is new. */
  readonly after?: { readonly cri: ReturnType<typeof createCriFake>; readonly clock: FakeClock; readonly feed: Feed }
  readonly images?: FakeCriDeps['images']
  readonly maxPods?: number
  /** Millicores that all pods together may request; as many as they like when not given. */
  readonly milliCpu?: number
  readonly memoryUsed?: (containerId: string) => number
  /** How often the kernel killed something for lack of memory in containers of the pod that have ended. */
  readonly oomKills?: (podUid: string) => number
  /** The label that pods need, as the node knows it now. */
  /** Whether the node runs short of something: then it takes no pod. */
  readonly isPressed?: () => boolean
  readonly labelled?: { now: boolean; lookAgain: () => Promise<void> }
  /** Instead of the store that is filled by hand, and by the agent's clock. */
  readonly wanted?: (clock: FakeClock) => WantedPods
}

const resourcesOf = (it: Container) => {
  const { cpu: requestedCpu = 0 } = containerRequests(it)
  const { cpu = 0, memory = 0 } = containerLimits(it)
  const cpuShares = Math.max(Math.trunc((requestedCpu * 1024) / 1000), 2)
  return { cpuPeriod: 100_000, cpuQuota: cpu * 100, cpuShares, memoryLimitInBytes: memory }
}

export const setup = ({ after, images = ['image-of-a:latest', 'image-of-b:latest'], maxPods = 110, ...more }: Setup = {}) => {
  const clock = after?.clock ?? fakeClock()
  const feed: Feed = after?.feed ?? { onEvent: () => undefined }
  const cri = after?.cri ?? createCriFake({ clock, images, onEvent: event => feed.onEvent(event) })
  const wanted = createStore<Pod>()
  const live = createStore<Pod>()
  const configMaps = createStore<ConfigMap>()
  const secrets = createStore<Secret>()
  const events: string[] = []
  const calls: string[] = []
  const isRoom = (pod: Pod, active: readonly Pod[]) => {
    const others = active.filter(it => it.metadata.uid !== pod.metadata.uid)
    const used = [...others, pod].reduce((sum, it) => sum + (podRequests(it)['cpu'] ?? 0), 0)
    return others.length < maxPods && used <= (more.milliCpu ?? used)
  }
  const agent = createAgent({
    wanted: more.wanted?.(clock) ?? wanted,
    live,
    configMaps,
    secrets,
    runtime: cri,
    parts: {
      sandboxConfig: (pod, attempt, cgroupParent) =>
        toSandboxConfig(pod, {
          attempt,
          hostname: pod.metadata.name,
          dnsConfig: {},
          podLogsDir: '/logs',
          linux: { cgroupParent },
        }),
      containerConfig: async (pod, it, restartCount, image) => {
        for (const { configMapKeyRef } of (it.env ?? []).map(env => env.valueFrom ?? {})) {
          const { name = '' } = configMapKeyRef ?? {}
          if (name !== '' && configMaps.get('default', name) === undefined)
            throw new Fault('container-config', `configmap "${name}" not found`, { reason: 'CreateContainerConfigError' })
        }
        const linux = { resources: resourcesOf(it) }
        return toContainerConfig(pod, it, { restartCount, imageRef: image.imageRef, env: [], mounts: [], linux })
      },
    },
    images: createImages({ cri, clock, log: silentLog, secrets, serialize: false, qps: 0, burst: 0 }),
    volumes: {
      prepare: async pod => void calls.push(`volumes ${pod.metadata.name}`),
      refresh: async () => [],
      references,
      envFiles: async () => new Map(),
      mounts: async () => ({ mounts: [], devices: [] }),
      groups: () => [],
      claimFolder: () => undefined,
      releaseContainer: async () => undefined,
      teardown: async uid => void calls.push(`teardown ${uid}`),
      podFolders: async () => [],
    },
    cgroups: {
      ensureRoots: async () => undefined,
      ensurePod: async pod => `/kubepods/pod${pod.metadata.uid}`,
      parentOf: pod => `/kubepods/pod${pod.metadata.uid}`,
      removePod: async uid => void calls.push(`cgroup ${uid}`),
      oomKillsOfEnded: async uid => more.oomKills?.(uid),
      pods: async () => [],
      updateQos: async () => undefined,
      removeAll: async () => undefined,
    },
    logs: {
      podLogsDir: '/logs',
      prepare: async () => undefined,
      link: async () => undefined,
      removeContainer: async () => undefined,
      remove: async () => undefined,
      removeUnknown: async () => [],
    },
    timeline: createTimeline({ clock }),
    probeMemory: { remembered: undefined, save: () => undefined },
    ...(more.labelled && { lookAtNode: more.labelled.lookAgain }),
    admit: (pod, active) =>
      more.labelled?.now === false
        ? { ok: false, reason: 'NodeAffinity', message: 'no such label' }
        : more.isPressed?.()
          ? { ok: false, reason: 'Evicted', message: 'The node had condition: [DiskPressure]. ' }
          : isRoom(pod, active)
            ? { ok: true }
            : { ok: false, reason: 'OutOfpods', message: 'no room', short: { pods: active.length + 1 - maxPods } },
    resources: (_, it) => resourcesOf(it),
    memoryUsed: async id => more.memoryUsed?.(id) ?? 0,
    limits: { longestPauseMs: 300_000, keepDead: 1 },
    nodeIPs: () => ['192.0.2.1'],
    startedAt: clock.now(),
    clock,
    log: silentLog,
    onEvent: (_pod, _type, reason, message) => void events.push(`${reason}: ${message}`),
  })
  feed.onEvent = agent.follower.onEvent
  for (const source of [wanted, configMaps, secrets]) source.markSynced()
  const started = agent.start(new AbortController().signal)
  return {
    agent,
    live,
    clock,
    feed,
    cri,
    wanted,
    configMaps,
    events,
    calls,
    /** Lets everything settle that needs no time. */
    settle: async () => {
      await started
      for (let i = 0; i < 20; i++) await clock.advance(0)
    },
    status: (name: string) => live.get('default', name)?.status,
    /** The state of a pod's first container in a word. */
    state: (name: string): string => {
      const state = live.get('default', name)?.status?.containerStatuses?.[0]?.state
      return state?.running ? 'running' : (state?.waiting?.reason ?? state?.terminated?.reason ?? 'none')
    },
  }
}

export const namedPod = (name: string, spec: Partial<PodSpec> = {}, uid = `uid-of-${name}`): Pod => ({
  metadata: { name, namespace: 'default', uid },
  spec: { restartPolicy: 'Always', terminationGracePeriodSeconds: 5, containers: [container('a')], ...spec },
})
