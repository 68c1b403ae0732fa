// Follows the runtime: its events are hints that poke a pod's worker within milliseconds, a slow relist is the truth that catches what
// no event told. Only ends are acted on: a container's creation is our own doing (upstream's evented PLEG started pods twice by it).
import type { TaskEvent } from '../api/task-event.ts'
import type { Clock, Timer } from '../host/clock.ts'
import { describe } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import { isAsSeen, type Observer, type PodSketch } from './observe.ts'
import type { Pods } from './pods.ts'

export interface FollowDeps {
  readonly observer: Pick<Observer, 'relist' | 'expectExit'>
  readonly pods: Pick<Pods, 'poke' | 'adopt' | 'workers'>
  readonly clock: Clock
  readonly log: Log
}

export interface Follower {
  onEvent(event: TaskEvent): void
  /** The event stream is (back) up: what happened before has to be listed. */
  onConnected(): void
  onLost(): void
  /** Why it cannot be said what runs, when nothing was listed for three minutes; as the kubelet's health check says it. */
  problem(): string | undefined
  /** The first look; answers once the runtime does, however long that takes. */
  firstList(signal: AbortSignal): Promise<ReadonlyMap<string, PodSketch>>
  start(): void
  stop(): void
}

const relistMs = 10_000
/** Without events the relist is all there is: the pace of the kubelet's. */
const relistWithoutEventsMs = 1000
/** The kubelet's threshold for a PLEG that is ill. */
const longestSilenceMs = 180_000

export const createFollower = ({ observer, pods, clock, log }: FollowDeps): Follower => {
  let known: ReadonlyMap<string, PodSketch> = new Map()
  let hasEvents = false
  let isAway = false
  let listedAt = clock.monotonic()
  let timer: Timer | undefined
  let running: Promise<void> | undefined
  /** What ended and is nobody's yet: a container may end before its worker has looked at it for the first time. */
  const strays = new Set<string>()

  const ownerOf = (id: string): string | undefined =>
    pods.workers().find(({ seen }) => seen.containers.some(it => it.id === id) || seen.sandboxes.some(it => it.id === id))?.uid ??
    [...known.values()].find(({ states }) => states.has(id))?.uid

  const list = async (): Promise<ReadonlyMap<string, PodSketch>> => {
    const found = await observer.relist()
    listedAt = clock.monotonic()
    if (isAway) {
      log.info({}, 'the container runtime answers again')
      // What failed for want of it need not sit out its pause.
      for (const worker of pods.workers()) if (worker.lastError?.code === 'runtime-away') worker.poke()
    }
    isAway = false
    return found
  }

  const sayAway = (error: unknown) => {
    if (!isAway) log.error({ err: error }, `the container runtime does not answer; trying again: ${describe(error)}`)
    isAway = true
  }

  const compare = (found: ReadonlyMap<string, PodSketch>) => {
    known = found
    for (const sketch of found.values()) pods.adopt(sketch)
    for (const worker of pods.workers()) {
      // A worker at work sees for itself; what it misses, the next list tells.
      if (worker.isBusy || worker.phase === 'terminated') continue
      const sketch = found.get(worker.uid) ?? { uid: worker.uid, name: '', namespace: '', states: new Map() }
      if (!isAsSeen(worker.seen, sketch)) worker.poke()
    }
  }

  /** Also workers at work look again: what they have seen of it may be from before its end. */
  const claim = (ids: readonly string[]) => {
    for (const id of ids) {
      strays.delete(id)
      const uid = ownerOf(id)
      if (uid !== undefined) pods.poke(uid)
    }
  }

  const relist = (): Promise<void> => {
    // A list that began before something ended may not show it: only what was asked for is settled by the answer.
    const asked = [...strays]
    running ??= list()
      .then(compare, sayAway)
      .finally(() => {
        running = undefined
        if (!isAway) claim(asked)
        if (strays.size > 0 && !isAway) void relist()
        else schedule()
      })
    return running
  }

  const schedule = () => {
    timer?.cancel()
    timer = clock.after(hasEvents && !isAway ? relistMs : relistWithoutEventsMs, () => void relist())
  }

  return {
    onEvent: event => {
      if (event.type !== 'exit' || event.id !== event.containerId) return
      observer.expectExit(event.containerId)
      const uid = ownerOf(event.containerId)
      if (uid !== undefined) return pods.poke(uid)
      // The list finds out whose it is.
      strays.add(event.containerId)
      void relist()
    },
    onConnected: () => {
      hasEvents = true
      void relist()
    },
    onLost: () => {
      hasEvents = false
      schedule()
    },
    problem: () => {
      const silentMs = clock.monotonic() - listedAt
      return silentMs > longestSilenceMs
        ? `the runtime's containers were last listed ${Math.round(silentMs / 1000)} s ago`
        : undefined
    },
    firstList: async signal => {
      for (;;) {
        try {
          known = await list()
          return known
        } catch (error) {
          sayAway(error)
          await clock.sleep(500, signal)
        }
      }
    },
    start: schedule,
    stop: () => timer?.cancel(),
  }
}
