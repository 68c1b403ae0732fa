// What is inside the runtime in memory (cri.fake.ts): sandboxes, containers, their states, and what can happen to them.
// It behaves as containerd does where that can be seen: a name is reserved until its holder is removed, and a stopped
// sandbox takes its containers along. It runs nothing: a started container stays until the test, its program or a stop ends it.
import type { Clock, Seconds } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import type { TaskEvent } from '../task-event.ts'
import type { Container, ContainerConfig, LinuxContainerResources, PodSandbox, PodSandboxConfig } from './types.ts'

export interface FakeSandbox {
  readonly id: string
  readonly config: PodSandboxConfig
  readonly runtimeHandler: string
  readonly createdAt: number
  readonly ips: readonly string[]
  state: PodSandbox['state']
}

export interface FakeContainer {
  readonly id: string
  readonly sandboxId: string
  readonly config: ContainerConfig
  readonly createdAt: number
  resources: LinuxContainerResources | undefined
  state: Container['state']
  startedAt: number
  finishedAt: number
  exitCode: number
  reason: string
}

/** What a container's program does when it is told to: test code sets it by the container's name. */
export interface FakeProgram {
  /** Exits by itself this long after its start; without it, it runs until it is stopped. */
  readonly exitsAfterMs?: number
  /** Its own exit code, default 0. */
  readonly exitCode?: number
  /** Does not react to the stop signal: a stop takes the whole grace period and ends in 137. */
  readonly ignoresStop?: boolean
}

export interface FakeRuntimeDeps {
  readonly clock: Clock
  /** Hears what happens, as an event stream would tell it. */
  readonly onEvent?: (event: TaskEvent) => void
}

export type FakeRuntime = ReturnType<typeof createFakeRuntime>

const reserve = (taken: boolean, kind: string, id: string | undefined) => {
  if (taken) throw new Fault('runtime-refused', `failed to reserve ${kind} name: it is reserved for "${id}"`)
}

/** What is there, and how it ends: every way out of running passes here. */
const createFakeStores = (clock: Clock, onEvent: (event: TaskEvent) => void) => {
  const sandboxes = new Map<string, FakeSandbox>()
  const containers = new Map<string, FakeContainer>()
  const end = (id: string, exitStatus: number) => {
    const exitedAt = clock.now()
    onEvent({ type: 'exit', containerId: id, id, pid: 0, exitStatus, exitedAt })
    onEvent({ type: 'delete', containerId: id, id, pid: 0, exitStatus, exitedAt })
  }

  const exit = (id: string, exitCode: number, reason = exitCode === 0 ? 'Completed' : 'Error') => {
    const it = containers.get(id)
    if (it?.state !== 'CONTAINER_RUNNING') throw new Error(`container ${id} does not run`)
    Object.assign(it, { state: 'CONTAINER_EXITED', exitCode, reason, finishedAt: clock.now() * 1e6 })
    if (reason === 'OOMKilled') onEvent({ type: 'oom', containerId: id })
    end(id, exitCode)
  }
  const crashSandbox = (id: string) => {
    const it = sandboxes.get(id)
    if (it?.state !== 'SANDBOX_READY') return
    it.state = 'SANDBOX_NOTREADY'
    end(id, 137)
  }
  const stopSandbox = (id: string) => {
    for (const it of containers.values()) if (it.sandboxId === id && it.state === 'CONTAINER_RUNNING') exit(it.id, 137)
    crashSandbox(id)
  }
  return { sandboxes, containers, exit, crashSandbox, stopSandbox }
}

/** The state of the runtime and what can happen to it; the Cri methods are thin on top. */
export const createFakeRuntime = ({ clock, onEvent = () => undefined }: FakeRuntimeDeps) => {
  const { sandboxes, containers, exit, crashSandbox, stopSandbox } = createFakeStores(clock, onEvent)
  const programs = new Map<string, FakeProgram>()
  const made = { sandboxes: 0, containers: 0 }
  const nowNanos = () => clock.now() * 1e6
  const createSandbox = (config: PodSandboxConfig, runtimeHandler: string): string => {
    const name = JSON.stringify(config.metadata)
    const holder = [...sandboxes.values()].find(it => JSON.stringify(it.config.metadata) === name)
    reserve(holder !== undefined, 'sandbox', holder?.id)
    made.sandboxes += 1
    const id = `sandbox-${made.sandboxes}`
    const onHost = config.linux?.securityContext?.namespaceOptions?.network === 'NODE'
    const ips = onHost ? [] : [`10.244.${made.sandboxes >> 8}.${made.sandboxes & 255}`]
    sandboxes.set(id, { id, config, runtimeHandler, createdAt: nowNanos(), ips, state: 'SANDBOX_READY' })
    onEvent({ type: 'create', containerId: id, pid: 0 })
    onEvent({ type: 'start', containerId: id, pid: 0 })
    return id
  }
  const createContainer = (sandboxId: string, config: ContainerConfig): string => {
    if (sandboxes.get(sandboxId)?.state !== 'SANDBOX_READY') {
      throw new Fault('runtime-refused', `sandbox "${sandboxId}" does not run`)
    }
    const { name, attempt } = config.metadata
    const holder = [...containers.values()].find(
      it => it.sandboxId === sandboxId && it.config.metadata.name === name && it.config.metadata.attempt === attempt,
    )
    reserve(holder !== undefined, 'container', holder?.id)
    made.containers += 1
    const id = `container-${made.containers}`
    const times = { createdAt: nowNanos(), startedAt: 0, finishedAt: 0 }
    containers.set(id, {
      ...{ id, sandboxId, config, ...times, resources: config.linux?.resources },
      ...{ state: 'CONTAINER_CREATED', exitCode: 0, reason: '' },
    })
    return id
  }
  const start = (it: FakeContainer) => {
    if (it.state !== 'CONTAINER_CREATED') throw new Fault('runtime-refused', `container is in ${it.state} state`)
    Object.assign(it, { state: 'CONTAINER_RUNNING', startedAt: nowNanos() })
    onEvent({ type: 'create', containerId: it.id, pid: 0 })
    onEvent({ type: 'start', containerId: it.id, pid: 0 })
    const { exitsAfterMs, exitCode = 0 } = programs.get(it.config.metadata.name) ?? {}
    if (exitsAfterMs === undefined) return
    clock.after(exitsAfterMs, () => it.state === 'CONTAINER_RUNNING' && exit(it.id, exitCode))
  }
  const stop = async (it: FakeContainer, grace: Seconds, signal?: AbortSignal) => {
    if (it.state !== 'CONTAINER_RUNNING') return
    const ignores = programs.get(it.config.metadata.name)?.ignoresStop === true
    if (ignores && grace > 0) await clock.sleep(grace * 1000, signal)
    if (it.state === 'CONTAINER_RUNNING') exit(it.id, ignores || grace === 0 ? 137 : 143)
  }
  return { sandboxes, containers, programs, exit, crashSandbox, createSandbox, createContainer, start, stop, stopSandbox }
}
