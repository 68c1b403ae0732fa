// Counts and times every call to the container runtime, by wrapping it: callers and the client know nothing of it.
// Names and operation types are those of the kubelet (instrumented_services.go), so that its dashboards and alerts read them.
import type { Cri } from '../../api/cri/cri.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import { exponentialBuckets, type Metrics } from '../../host/metrics.ts'
import { containerNameLabel, podUidLabel } from '../labels.ts'

/** Every call that has an end; the event stream has none. */
type Call = Exclude<keyof Cri, 'close' | 'containerEvents'>

const operations = {
  version: 'version',
  status: 'status',
  runtimeConfig: 'runtime_config',
  updateRuntimeConfig: 'update_runtime_config',
  runPodSandbox: 'run_podsandbox',
  stopPodSandbox: 'stop_podsandbox',
  removePodSandbox: 'remove_podsandbox',
  podSandboxStatus: 'podsandbox_status',
  listPodSandbox: 'list_podsandbox',
  updatePodSandboxResources: 'update_podsandbox_resources',
  createContainer: 'create_container',
  startContainer: 'start_container',
  stopContainer: 'stop_container',
  removeContainer: 'remove_container',
  listContainers: 'list_containers',
  containerStatus: 'container_status',
  updateContainerResources: 'update_container',
  reopenContainerLog: 'reopen_container_log',
  checkpointContainer: 'checkpoint_container',
  execSync: 'exec_sync',
  exec: 'exec',
  attach: 'attach',
  portForward: 'port_forward',
  containerStats: 'container_stats',
  listContainerStats: 'list_container_stats',
  podSandboxStats: 'podsandbox_stats',
  listPodSandboxStats: 'list_podsandbox_stats',
  listMetricDescriptors: 'list_metric_descriptors',
  listPodSandboxMetrics: 'list_podsandbox_metrics',
  listImages: 'list_images',
  imageStatus: 'image_status',
  pullImage: 'pull_image',
  removeImage: 'remove_image',
  imageFsInfo: 'image_fs_info',
} as const satisfies Record<Call, string>

export interface CriMetricsDeps {
  readonly metrics: Metrics
  readonly clock: Pick<Clock, 'monotonic'>
  /** Live pods, for the kind of a container that is created. */
  readonly pods: () => readonly Pod[]
}

type ContainerType = 'container' | 'init_container' | 'ephemeral_container'

const containerTypeOf = (pods: readonly Pod[], uid: string | undefined, name: string | undefined): ContainerType => {
  const spec = pods.find(it => it.metadata.uid === uid)?.spec
  if (spec?.initContainers?.some(it => it.name === name)) return 'init_container'
  return spec?.ephemeralContainers?.some(it => it.name === name) ? 'ephemeral_container' : 'container'
}

/** What is counted beside the calls themselves: pods and containers that were to start. */
const createStarts = ({ metrics, pods }: CriMetricsDeps) => {
  const startedPods = metrics.counter('kubelet_started_pods_total', 'Pods whose sandbox was to be made')
  const failedPods = metrics.counter('kubelet_started_pods_errors_total', 'Sandboxes that could not be made')
  const sandboxErrors = metrics.counter('kubelet_run_podsandbox_errors_total', 'Sandboxes that could not be made, by handler', [
    'runtime_handler',
  ])
  const sandboxTimes = metrics.histogram('kubelet_run_podsandbox_duration_seconds', 'How long making a sandbox took', [
    'runtime_handler',
  ])
  const started = metrics.counter('kubelet_started_containers_total', 'Containers that were to start', ['container_type'])
  const failed = metrics.counter('kubelet_started_containers_errors_total', 'Containers that could not be made or started', [
    'container_type',
    'code',
  ])
  const types = new Map<string, ContainerType>()
  return {
    sandbox: (runtime_handler: string) => {
      startedPods.inc({})
      return (seconds: number, succeeded: boolean) => {
        sandboxTimes.observe({ runtime_handler }, seconds)
        if (succeeded) return
        failedPods.inc({})
        sandboxErrors.inc({ runtime_handler })
      }
    },
    container: (labels: Readonly<Record<string, string>> | undefined) => {
      const container_type = containerTypeOf(pods(), labels?.[podUidLabel], labels?.[containerNameLabel])
      started.inc({ container_type })
      return (id: unknown) => {
        if (typeof id === 'string') types.set(id, container_type)
        else failed.inc({ container_type, code: 'CreateContainerError' })
      }
    },
    start: (id: string, succeeded: boolean) => {
      const container_type = types.get(id) ?? 'container'
      types.delete(id)
      if (!succeeded) failed.inc({ container_type, code: 'RunContainerError' })
    },
    gone: (id: string) => types.delete(id),
  }
}

/** Every call that has an end, counted and timed. */
const measureCalls = (cri: Cri, { metrics, clock }: CriMetricsDeps): Pick<Cri, Call> => {
  const labels = ['operation_type'] as const
  const calls = metrics.counter('kubelet_runtime_operations_total', 'Calls to the container runtime', labels)
  const errors = metrics.counter('kubelet_runtime_operations_errors_total', 'Calls to the container runtime that failed', labels)
  const times = metrics.histogram(
    'kubelet_runtime_operations_duration_seconds',
    'How long calls to the container runtime took',
    labels,
    exponentialBuckets(0.005, 2.5, 14),
  )

  const measure =
    (operation_type: string, call: (...args: readonly unknown[]) => Promise<unknown>) =>
    async (...args: readonly unknown[]): Promise<unknown> => {
      const began = clock.monotonic()
      calls.inc({ operation_type })
      try {
        return await call(...args)
      } catch (error) {
        errors.inc({ operation_type })
        throw error
      } finally {
        times.observe({ operation_type }, (clock.monotonic() - began) / 1000)
      }
    }
  return Object.fromEntries(
    Object.entries(operations).map(([method, operation]) => [
      method,
      measure(operation, (...args) => (cri[method as Call] as (...args: readonly unknown[]) => Promise<unknown>)(...args)),
    ]),
  ) as Pick<Cri, Call>
}

/** The same runtime, whose calls are counted. */
export const measureCri = (cri: Cri, deps: CriMetricsDeps): Cri => {
  const { clock } = deps
  const starts = createStarts(deps)
  const measured = measureCalls(cri, deps)
  return {
    ...cri,
    ...measured,
    runPodSandbox: async (config, handler = '', options) => {
      const ended = starts.sandbox(handler)
      const began = clock.monotonic()
      const id = await settle(measured.runPodSandbox(config, handler, options), it =>
        ended((clock.monotonic() - began) / 1000, it !== undefined),
      )
      return id
    },
    createContainer: (sandboxId, config, ...rest) =>
      settle(measured.createContainer(sandboxId, config, ...rest), starts.container(config.labels)),
    startContainer: async (id, options) => {
      try {
        await measured.startContainer(id, options)
        starts.start(id, true)
      } catch (error) {
        starts.start(id, false)
        throw error
      }
    },
    removeContainer: (id, options) => {
      starts.gone(id)
      return measured.removeContainer(id, options)
    },
  }
}

/** Tells of the end of a call: its answer, or undefined when it failed. */
const settle = async <T>(call: Promise<T>, tell: (answer: T | undefined) => void): Promise<T> => {
  try {
    const answer = await call
    tell(answer)
    return answer
  } catch (error) {
    tell(undefined)
    throw error
  }
}
