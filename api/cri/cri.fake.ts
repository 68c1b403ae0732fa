// A container runtime in memory, for tests of everything that stands on the Cri interface: sandboxes, containers, images,
// exits that the test asks for, a log of every call, and failures on order. Stop and remove may be repeated, as with
// containerd. The state is in cri-runtime.fake.ts, images in cri-images.fake.ts, the log in cri-calls.fake.ts.
import { Fault } from '../../host/fault.ts'
import type { Cri } from './cri.ts'
import { createFakeCalls, type FakeCalls } from './cri-calls.fake.ts'
import { createFakeImages, type FakeImages } from './cri-images.fake.ts'
import {
  createFakeRuntime,
  type FakeContainer,
  type FakeProgram,
  type FakeRuntime,
  type FakeRuntimeDeps,
  type FakeSandbox,
} from './cri-runtime.fake.ts'
import { matches, toContainer, toContainerStatus, toPodStats, toSandbox, toSandboxStatus, toStats } from './cri-views.fake.ts'
import type { ContainerFilter, ExecSyncResponse, PodSandboxFilter } from './types.ts'

export type { FakeCall, FakeCalls } from './cri-calls.fake.ts'
export type { FakeContainer, FakeProgram, FakeSandbox } from './cri-runtime.fake.ts'

type OnExec = (container: FakeContainer, cmd: readonly string[]) => Partial<ExecSyncResponse> | Promise<Partial<ExecSyncResponse>>

export interface FakeCri extends Cri, FakeCalls {
  readonly sandboxes: ReadonlyMap<string, FakeSandbox>
  readonly containers: ReadonlyMap<string, FakeContainer>
  /** Images present, by name. */
  readonly images: FakeImages
  /** What programs do, by container name. */
  readonly programs: Map<string, FakeProgram>
  /** Answers `execSync`; may throw. The default exits with 0. */
  onExec: OnExec
  /** The newest container of this name, and the newest sandbox of this pod. */
  container(name: string): FakeContainer | undefined
  sandbox(pod: string): FakeSandbox | undefined
  /** Ends a running container, as its own program would. */
  exit(id: string, exitCode: number, reason?: string): void
  /** Ends a sandbox's pause process, as a crash would; its containers go on. */
  crashSandbox(id: string): void
}

export interface FakeCriDeps extends FakeRuntimeDeps {
  /** Image names that are present from the start. */
  readonly images?: readonly string[]
}

const unsupported = (method: string) => () =>
  Promise.reject(new Fault('unsupported', `unknown method ${method}`, { retry: 'never' }))

const find = <T>(all: ReadonlyMap<string, T>, kind: string, id: string): T => {
  const found = all.get(id)
  if (found === undefined) throw new Fault('not-found', `${kind} "${id}" not found`, { retry: 'never' })
  return found
}

const select = ({ containers }: FakeRuntime, { id, state, podSandboxId, labelSelector }: ContainerFilter) =>
  [...containers.values()].filter(
    it =>
      (id ?? it.id) === it.id &&
      (state?.state ?? it.state) === it.state &&
      (podSandboxId ?? it.sandboxId) === it.sandboxId &&
      matches(it.config.labels, labelSelector),
  )

const selectSandboxes = ({ sandboxes }: FakeRuntime, { id, state, labelSelector }: PodSandboxFilter) =>
  [...sandboxes.values()].filter(
    it => (id ?? it.id) === it.id && (state?.state ?? it.state) === it.state && matches(it.config.labels, labelSelector),
  )

const runtimeMethods = {
  version: async () => ({ version: '0.1.0', runtimeName: 'fake', runtimeVersion: '1', runtimeApiVersion: 'v1' }),
  status: async () => ({
    status: { conditions: ['RuntimeReady', 'NetworkReady'].map(type => ({ type, status: true, reason: '', message: '' })) },
    ...{ info: {}, runtimeHandlers: [], features: null },
  }),
  runtimeConfig: unsupported('RuntimeConfig'),
  updateRuntimeConfig: async () => undefined,
  listMetricDescriptors: async () => [],
  listPodSandboxMetrics: async () => [],
  containerEvents: unsupported('GetContainerEvents'),
  close: () => undefined,
} satisfies Partial<Cri>

const sandboxMethods = (runtime: FakeRuntime) =>
  ({
    runPodSandbox: async (config, runtimeHandler = '') => runtime.createSandbox(config, runtimeHandler),
    stopPodSandbox: async id => runtime.stopSandbox(id),
    removePodSandbox: async id => {
      runtime.stopSandbox(id)
      for (const it of select(runtime, { podSandboxId: id })) runtime.containers.delete(it.id)
      runtime.sandboxes.delete(id)
    },
    podSandboxStatus: async id => {
      const status = toSandboxStatus(find(runtime.sandboxes, 'sandbox', id))
      return { status, info: {}, containersStatuses: [], timestamp: 0 }
    },
    listPodSandbox: async (filter = {}) => selectSandboxes(runtime, filter).map(toSandbox),
    updatePodSandboxResources: unsupported('UpdatePodSandboxResources'),
    portForward: async id => `http://127.0.0.1:1/portforward/${find(runtime.sandboxes, 'sandbox', id).id}`,
    podSandboxStats: async id => toPodStats(find(runtime.sandboxes, 'sandbox', id)),
    listPodSandboxStats: async (filter = {}) => selectSandboxes(runtime, filter).map(toPodStats),
  }) satisfies Partial<Cri>

const containerMethods = (runtime: FakeRuntime, images: FakeImages, onExec: OnExec) => {
  const containerOf = (id: string) => find(runtime.containers, 'container', id)
  const runningOf = (id: string) => {
    const it = containerOf(id)
    if (it.state !== 'CONTAINER_RUNNING') throw new Fault('runtime-refused', `container is in ${it.state} state`)
    return it
  }
  return {
    createContainer: async (sandboxId, config) => {
      images.need(config.image)
      return runtime.createContainer(sandboxId, config)
    },
    startContainer: async id => runtime.start(containerOf(id)),
    stopContainer: async (id, grace, { signal } = {}) => {
      const it = runtime.containers.get(id)
      if (it !== undefined) await runtime.stop(it, grace, signal)
    },
    removeContainer: async id => {
      if (runtime.containers.get(id)?.state === 'CONTAINER_RUNNING') runtime.exit(id, 137)
      runtime.containers.delete(id)
    },
    listContainers: async (filter = {}) => select(runtime, filter).map(toContainer),
    containerStatus: async id => {
      const it = containerOf(id)
      return { status: toContainerStatus(it, runtime.sandboxes.get(it.sandboxId)), info: {} }
    },
    updateContainerResources: async (id, resources) => {
      const it = containerOf(id)
      it.resources = { ...it.resources, ...resources }
    },
    reopenContainerLog: async id => void runningOf(id),
    checkpointContainer: unsupported('CheckpointContainer'),
    execSync: async (id, cmd) => {
      const answer = await onExec(runningOf(id), cmd)
      return { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), exitCode: 0, ...answer }
    },
    exec: async ({ containerId }) => `http://127.0.0.1:1/exec/${containerOf(containerId).id}`,
    attach: async ({ containerId }) => `http://127.0.0.1:1/attach/${containerOf(containerId).id}`,
    containerStats: async id => toStats(containerOf(id)),
    listContainerStats: async (filter = {}) => select(runtime, { ...filter, state: { state: 'CONTAINER_RUNNING' } }).map(toStats),
  } satisfies Partial<Cri>
}

/** A runtime with nothing in it but `images`. */
export const createCriFake = (deps: FakeCriDeps): FakeCri => {
  const runtime = createFakeRuntime(deps)
  const images = createFakeImages(deps.images ?? [])
  const calls = createFakeCalls(deps.clock)
  const cri: Cri = {
    ...runtimeMethods,
    ...sandboxMethods(runtime),
    ...containerMethods(runtime, images, (container, cmd) => fake.onExec(container, cmd)),
    ...images.methods,
  }
  const { sandboxes, containers, programs, exit, crashSandbox } = runtime
  const fake: FakeCri = {
    ...calls.record(cri),
    ...calls,
    ...{ sandboxes, containers, images, programs, exit, crashSandbox },
    onExec: () => ({}),
    container: name => [...containers.values()].findLast(it => it.config.metadata.name === name),
    sandbox: pod => [...sandboxes.values()].findLast(it => it.config.metadata.name === pod),
  }
  return fake
}
