// What a container runtime can be asked for: one method per call of the CRI's RuntimeService and ImageService.
// Only the interface: client.ts asks a real runtime, cri.fake.ts is a working one in memory.
// Every method fails with a Fault: `runtime-away`, `runtime-timeout`, `not-found`, `already-exists`, `unsupported`
// (the runtime does not know the call) or `runtime-refused`; pullImage also with `image-pull`.
import type { Seconds } from '../../host/clock.ts'
import type {
  ContainerStats,
  ContainerStatsFilter,
  ImageFsInfoResponse,
  MetricDescriptor,
  PodSandboxMetrics,
  PodSandboxStats,
  PodSandboxStatsFilter,
} from './stats.ts'
import type {
  AuthConfig,
  Container,
  ContainerConfig,
  ContainerEventResponse,
  ContainerFilter,
  ContainerStatusResponse,
  ExecSyncResponse,
  Image,
  ImageSpec,
  ImageStatusResponse,
  LinuxContainerResources,
  PodSandbox,
  PodSandboxConfig,
  PodSandboxFilter,
  PodSandboxStatusResponse,
  RuntimeConfigResponse,
  StatusResponse,
  StringMap,
  VersionResponse,
} from './types.ts'

export interface CallOptions {
  /** The call is cancelled, and fails with the signal's reason, as soon as this aborts. */
  readonly signal?: AbortSignal
  /** In place of the method's own deadline. */
  readonly timeoutMs?: number
}

export interface ExecRequest {
  readonly containerId: string
  readonly cmd: readonly string[]
  readonly tty?: boolean
  readonly stdin?: boolean
  readonly stdout?: boolean
  readonly stderr?: boolean
}

export interface Cri {
  version(options?: CallOptions): Promise<VersionResponse>
  /** Runtime conditions, handlers and features; verbose adds the runtime's configuration as JSON. */
  status(verbose?: boolean, options?: CallOptions): Promise<StatusResponse>
  /** Which cgroup driver the runtime uses; `unsupported` before containerd 2. */
  runtimeConfig(options?: CallOptions): Promise<RuntimeConfigResponse>
  updateRuntimeConfig(podCidr: string, options?: CallOptions): Promise<void>

  /** Creates and starts a sandbox, network included. @returns its id */
  runPodSandbox(config: PodSandboxConfig, runtimeHandler?: string, options?: CallOptions): Promise<string>
  /** Ends the sandbox and its containers, at once; may be called again. */
  stopPodSandbox(id: string, options?: CallOptions): Promise<void>
  removePodSandbox(id: string, options?: CallOptions): Promise<void>
  podSandboxStatus(id: string, verbose?: boolean, options?: CallOptions): Promise<PodSandboxStatusResponse>
  listPodSandbox(filter?: PodSandboxFilter, options?: CallOptions): Promise<readonly PodSandbox[]>
  updatePodSandboxResources(
    id: string,
    resources: { readonly overhead?: LinuxContainerResources; readonly resources?: LinuxContainerResources },
    options?: CallOptions,
  ): Promise<void>

  /** @returns the id of the container, which is created but not started */
  createContainer(sandboxId: string, config: ContainerConfig, sandbox: PodSandboxConfig, options?: CallOptions): Promise<string>
  startContainer(id: string, options?: CallOptions): Promise<void>
  /** Sends the stop signal, after `grace` SIGKILL; returns when the container is dead. */
  stopContainer(id: string, grace: Seconds, options?: CallOptions): Promise<void>
  removeContainer(id: string, options?: CallOptions): Promise<void>
  listContainers(filter?: ContainerFilter, options?: CallOptions): Promise<readonly Container[]>
  containerStatus(id: string, verbose?: boolean, options?: CallOptions): Promise<ContainerStatusResponse>
  updateContainerResources(
    id: string,
    resources: LinuxContainerResources,
    annotations?: StringMap,
    options?: CallOptions,
  ): Promise<void>
  reopenContainerLog(id: string, options?: CallOptions): Promise<void>
  checkpointContainer(id: string, location: string, timeout: Seconds, options?: CallOptions): Promise<void>

  /** Runs a command to its end; one that takes longer than `timeout` (0: never) fails with `runtime-timeout`. */
  execSync(id: string, cmd: readonly string[], timeout: Seconds, options?: CallOptions): Promise<ExecSyncResponse>
  /** @returns the URL at which the runtime serves the streams, as do the two below */
  exec(request: ExecRequest, options?: CallOptions): Promise<string>
  attach(request: Omit<ExecRequest, 'cmd'>, options?: CallOptions): Promise<string>
  portForward(sandboxId: string, ports: readonly number[], options?: CallOptions): Promise<string>

  containerStats(id: string, options?: CallOptions): Promise<ContainerStats>
  listContainerStats(filter?: ContainerStatsFilter, options?: CallOptions): Promise<readonly ContainerStats[]>
  podSandboxStats(id: string, options?: CallOptions): Promise<PodSandboxStats>
  listPodSandboxStats(filter?: PodSandboxStatsFilter, options?: CallOptions): Promise<readonly PodSandboxStats[]>
  listMetricDescriptors(options?: CallOptions): Promise<readonly MetricDescriptor[]>
  listPodSandboxMetrics(options?: CallOptions): Promise<readonly PodSandboxMetrics[]>
  /** Resolves when the runtime ends the stream; the answers to what happened before it began are not sent. */
  containerEvents(onEvent: (event: ContainerEventResponse) => void, options?: CallOptions): Promise<void>

  listImages(image?: ImageSpec, options?: CallOptions): Promise<readonly Image[]>
  /** `image` is null when it is not present. */
  imageStatus(image: ImageSpec, verbose?: boolean, options?: CallOptions): Promise<ImageStatusResponse>
  /** Has no deadline: a pull that gets on may take as long as it takes. @returns the image's reference */
  pullImage(image: ImageSpec, auth?: AuthConfig, sandbox?: PodSandboxConfig, options?: CallOptions): Promise<string>
  removeImage(image: ImageSpec, options?: CallOptions): Promise<void>
  imageFsInfo(options?: CallOptions): Promise<ImageFsInfoResponse>

  /** Ends the connection; calls under way fail. */
  close(): void
}
