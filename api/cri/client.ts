// The container runtime, asked over its socket: each method one CRI call, with the deadline that the kubelet gives it.
// Decides nothing and keeps nothing but the connection. What a failure means is decided in rpc.ts, save for image pulls.
// Follows k8s.io/cri-api v0.36; deadlines as in k8s.io/cri-client (remote_runtime.go, remote_image.go).
import { type Clock, systemClock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { createRpc } from '../rpc.ts'
import type { CallOptions, Cri } from './cri.ts'
import schema from './runtime.gen.json' with { type: 'json' }
import type { ContainerStats, MetricDescriptor, PodSandboxMetrics, PodSandboxStats } from './stats.ts'
import type { Container, Image, PodSandbox } from './types.ts'

export type { CallOptions, Cri, ExecRequest } from './cri.ts'

export interface CriDeps {
  /** `unix:///run/containerd/containerd.sock`, or the bare path. */
  readonly endpoint: string
  /** Where images are asked for; the same unless told otherwise. */
  readonly imageEndpoint?: string
  readonly log: Log
  readonly clock?: Clock
  readonly timeouts?: CriTimeouts
}

export interface CriTimeouts {
  /** KubeletConfiguration's runtimeRequestTimeout; sandboxes get twice as long, stopping and exec that much on top. */
  readonly requestMs: number
}

const defaultTimeouts: CriTimeouts = { requestMs: 2 * 60_000 }

// A pull may fail for many reasons that all mean the same to a pod; only those that are not about the image stay as they are.
const toPullFault = (error: unknown): unknown => {
  if (!(error instanceof Fault) || error.code === 'runtime-away' || error.code === 'runtime-timeout') return error
  return new Fault('image-pull', error.message, { cause: error.cause, reason: error.reason ?? 'ErrImagePull' })
}

type Ask = <Answer>(method: string, request: object, options: CallOptions | undefined, ms?: number) => Promise<Answer>

const sandboxCalls = (ask: Ask, requestMs: number) =>
  ({
    runPodSandbox: async (config, runtimeHandler = '', options) => {
      const answer = await ask<{ podSandboxId: string }>('RunPodSandbox', { config, runtimeHandler }, options, requestMs * 2)
      return answer.podSandboxId
    },
    stopPodSandbox: (podSandboxId, options) => ask('StopPodSandbox', { podSandboxId }, options),
    removePodSandbox: (podSandboxId, options) => ask('RemovePodSandbox', { podSandboxId }, options),
    podSandboxStatus: (podSandboxId, verbose = false, options) => ask('PodSandboxStatus', { podSandboxId, verbose }, options),
    listPodSandbox: async (filter = {}, options) =>
      (await ask<{ items: readonly PodSandbox[] }>('ListPodSandbox', { filter }, options)).items,
    updatePodSandboxResources: (podSandboxId, resources, options) =>
      ask('UpdatePodSandboxResources', { podSandboxId, ...resources }, options),
    portForward: async (podSandboxId, port, options) =>
      (await ask<{ url: string }>('PortForward', { podSandboxId, port }, options)).url,
    podSandboxStats: async (podSandboxId, options) =>
      (await ask<{ stats: PodSandboxStats }>('PodSandboxStats', { podSandboxId }, options)).stats,
    listPodSandboxStats: async (filter = {}, options) =>
      (await ask<{ stats: readonly PodSandboxStats[] }>('ListPodSandboxStats', { filter }, options)).stats,
    listMetricDescriptors: async options =>
      (await ask<{ descriptors: readonly MetricDescriptor[] }>('ListMetricDescriptors', {}, options)).descriptors,
    listPodSandboxMetrics: async options =>
      (await ask<{ podMetrics: readonly PodSandboxMetrics[] }>('ListPodSandboxMetrics', {}, options)).podMetrics,
  }) satisfies Partial<Cri>

const containerCalls = (ask: Ask, requestMs: number) =>
  ({
    createContainer: async (podSandboxId, config, sandboxConfig, options) => {
      const request = { podSandboxId, config, sandboxConfig }
      return (await ask<{ containerId: string }>('CreateContainer', request, options)).containerId
    },
    startContainer: (containerId, options) => ask('StartContainer', { containerId }, options),
    stopContainer: (containerId, grace, options) =>
      ask('StopContainer', { containerId, timeout: Math.ceil(grace) }, options, requestMs + grace * 1000),
    removeContainer: (containerId, options) => ask('RemoveContainer', { containerId }, options),
    listContainers: async (filter = {}, options) =>
      (await ask<{ containers: readonly Container[] }>('ListContainers', { filter }, options)).containers,
    containerStatus: (containerId, verbose = false, options) => ask('ContainerStatus', { containerId, verbose }, options),
    updateContainerResources: (containerId, linux, annotations = {}, options) =>
      ask('UpdateContainerResources', { containerId, linux, annotations }, options),
    reopenContainerLog: (containerId, options) => ask('ReopenContainerLog', { containerId }, options),
    checkpointContainer: (containerId, location, timeout, options) =>
      ask('CheckpointContainer', { containerId, location, timeout }, options, requestMs + timeout * 1000),
    execSync: (containerId, cmd, timeout, options) =>
      // The runtime ends the command itself; our deadline is for a runtime that does not.
      ask(
        'ExecSync',
        { containerId, cmd, timeout },
        options,
        timeout === 0 ? Number.POSITIVE_INFINITY : requestMs + timeout * 1000,
      ),
    exec: async (request, options) => (await ask<{ url: string }>('Exec', request, options)).url,
    attach: async (request, options) => (await ask<{ url: string }>('Attach', request, options)).url,
    containerStats: async (containerId, options) =>
      (await ask<{ stats: ContainerStats }>('ContainerStats', { containerId }, options)).stats,
    listContainerStats: async (filter = {}, options) =>
      (await ask<{ stats: readonly ContainerStats[] }>('ListContainerStats', { filter }, options)).stats,
  }) satisfies Partial<Cri>

const imageCalls = (ask: Ask) =>
  ({
    listImages: async (image, options) =>
      (await ask<{ images: readonly Image[] }>('ListImages', image ? { filter: { image } } : {}, options)).images,
    imageStatus: (image, verbose = false, options) => ask('ImageStatus', { image, verbose }, options),
    pullImage: async (image, auth, sandboxConfig, options) => {
      const request = { image, ...(auth && { auth }), ...(sandboxConfig && { sandboxConfig }) }
      try {
        return (await ask<{ imageRef: string }>('PullImage', request, options, Number.POSITIVE_INFINITY)).imageRef
      } catch (error) {
        throw toPullFault(error)
      }
    },
    removeImage: (image, options) => ask('RemoveImage', { image }, options),
    imageFsInfo: options => ask('ImageFsInfo', {}, options),
  }) satisfies Partial<Cri>

/** A client of the runtime at `endpoint`; connects with the first call, and again whenever the runtime comes back. */
export const createCri = ({
  endpoint,
  imageEndpoint = endpoint,
  log,
  clock = systemClock,
  timeouts = defaultTimeouts,
}: CriDeps): Cri => {
  const rpc = createRpc({ endpoint, schema, clock })
  const imageRpc = imageEndpoint === endpoint ? rpc : createRpc({ endpoint: imageEndpoint, schema, clock })
  const askOf =
    (service: string, via = rpc): Ask =>
    async (method, request, { signal, timeoutMs } = {}, ms = timeouts.requestMs) => {
      const started = clock.monotonic()
      const limit = timeoutMs ?? ms
      const options = { ...(signal && { signal }), ...(Number.isFinite(limit) && { timeoutMs: limit }) }
      try {
        return await via.call(`${service}/${method}`, request, options)
      } finally {
        log.debug({ method, ms: Math.round(clock.monotonic() - started) }, 'runtime call')
      }
    }
  const ask = askOf('runtime.v1.RuntimeService')
  return {
    version: options => ask('Version', { version: 'v1' }, options),
    status: (verbose = false, options) => ask('Status', { verbose }, options),
    runtimeConfig: options => ask('RuntimeConfig', {}, options),
    updateRuntimeConfig: (podCidr, options) =>
      ask('UpdateRuntimeConfig', { runtimeConfig: { networkConfig: { podCidr } } }, options),
    ...sandboxCalls(ask, timeouts.requestMs),
    ...containerCalls(ask, timeouts.requestMs),
    ...imageCalls(askOf('runtime.v1.ImageService', imageRpc)),
    containerEvents: (onEvent, options) => rpc.stream('runtime.v1.RuntimeService/GetContainerEvents', {}, onEvent, options),
    close: () => {
      for (const it of new Set([rpc, imageRpc])) it.close()
    },
  }
}
