// What this agent tells of its own work on /metrics and /metrics/probes: hooks for the parts to call, and gauges worked out at a
// scrape. Parts know only the hooks that they are handed. A metric is here only when something records it.
// Names, labels and buckets are those of the kubelet 1.36, so that its dashboards and alerts go on working.
import type { Source } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { expositionType, type Family, toExposition } from '../../host/exposition.ts'
import type { Metrics } from '../../host/metrics.ts'
import { ownProcess } from '../../host/own-process.ts'
import { buildInfo } from '../../host/version.ts'
import type { ProbeReport } from '../../probes/table.ts'
import type { EnsureOptions, Images } from '../images.ts'
import type { OnRequest } from '../kubelet-api/request-labels.ts'
import { claimFamilies } from './claim-usage.ts'
import { createFamilySet, gauge } from './family-set.ts'
import { toPodGauges } from './pod-gauges.ts'
import { createPodStarts, podWorkerDuration } from './pod-start.ts'
import type { StatsRoute } from './routes.ts'

export interface KubeletMetricsDeps {
  /** Of /metrics; other parts may put theirs into it too. */
  readonly metrics: Metrics
  /** Of /metrics/probes, which the kubelet keeps apart. */
  readonly probeMetrics: Metrics
  readonly nodeName: string
  /** As `kubelet --version` says it: `v1.36.3+…`. */
  readonly version: string
  readonly cgroupVersion: 1 | 2
  readonly bootedAt: Millis
  readonly live: Pick<Source<Pod>, 'list' | 'subscribe'>
  readonly wanted: Pick<Source<Pod>, 'list'>
  /** When certificates end, in milliseconds; undefined for those that there are none of. */
  readonly certificates?: () => { readonly client?: Millis | undefined; readonly server?: Millis | undefined }
  readonly clock: Clock
}

/** One request to the apiserver, when it is over; `code` is `<error>` when there was no answer. */
export interface ApiRequest {
  readonly method: string
  readonly host: string
  readonly code: string
  readonly seconds: number
}

export interface KubeletMetrics {
  /** The prober's onAttempt. */
  probed(report: ProbeReport): void
  /** The kubelet API's onRequest. */
  readonly onRequest: OnRequest
  apiRequest(request: ApiRequest): void
  /** The runtime's pods were listed anew. */
  relisted(seconds: number): void
  synced(operation: 'create' | 'update' | 'sync' | 'terminating' | 'terminated', seconds: number): void
  /** A change of a pod's status reached the apiserver, that long after it happened. */
  statusSynced(seconds: number): void
  evicted(signal: string): void
  preempted(resource: string): void
  rejected(reason: string): void
  /** Images were removed for lack of space or for their age. */
  imagesCollected(reason: 'space' | 'age', count: number): void
  /** The same images, whose pulls do not count as the pod's start. */
  measureImages(images: Images): Images
  /** How full claimed volumes are. @param folderOf Volumes.claimFolder */
  measureClaims(folderOf: (pod: Pod, volume: string) => string | undefined): void
  routes(): Readonly<Record<string, StatsRoute>>
  stop(): void
}

const requestLabels = ['method', 'path', 'server_type', 'long_running'] as const
const apiBuckets = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60]
const statusBuckets = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 45, 60]

/** Counts the requests to the kubelet API. */
const requestCounter = (metrics: Metrics, clock: Clock): OnRequest => {
  const total = metrics.counter('kubelet_http_requests_total', 'Requests to the kubelet API', requestLabels)
  const times = metrics.histogram('kubelet_http_requests_duration_seconds', 'How long requests took', requestLabels)
  const inflight = metrics.gauge('kubelet_http_inflight_requests', 'Requests that are being answered', requestLabels)
  return labels => {
    const began = clock.monotonic()
    total.inc(labels)
    inflight.add(labels, 1)
    return () => {
      inflight.add(labels, -1)
      times.observe(labels, (clock.monotonic() - began) / 1000)
    }
  }
}

const apiCounter = (metrics: Metrics) => {
  const total = metrics.counter('rest_client_requests_total', 'Requests to the apiserver', ['code', 'method', 'host'])
  const times = metrics.histogram(
    'rest_client_request_duration_seconds',
    'How long requests to the apiserver took',
    ['verb', 'host'],
    apiBuckets,
  )
  return ({ method, host, code, seconds }: ApiRequest) => {
    total.inc({ code, method, host })
    times.observe({ verb: method, host }, seconds)
  }
}

const relistCounter = (metrics: Metrics, clock: Clock) => {
  const times = metrics.histogram('kubelet_pleg_relist_duration_seconds', "How long listing the runtime's pods took")
  const intervals = metrics.histogram('kubelet_pleg_relist_interval_seconds', "Time between two lists of the runtime's pods")
  const seen = metrics.gauge('kubelet_pleg_last_seen_seconds', "When the runtime's pods were last listed, since the epoch")
  let before: number | undefined
  return (seconds: number) => {
    const now = clock.monotonic()
    times.observe({}, seconds)
    if (before !== undefined) intervals.observe({}, (now - before) / 1000)
    before = now
    seen.set({}, clock.now() / 1000)
  }
}

const probeNames = { liveness: 'Liveness', readiness: 'Readiness', startup: 'Startup' } as const
const probeResults = { success: 'successful', warning: 'successful', failure: 'failed' } as const

/** Counts probes; those that could not ask count as nothing, as in the kubelet. */
const probeCounter = (metrics: Metrics, live: KubeletMetricsDeps['live']) => {
  const names = ['probe_type', 'container', 'pod', 'namespace'] as const
  const total = metrics.counter('prober_probe_total', 'Probes by result', [...names, 'result', 'pod_uid'])
  const times = metrics.histogram('prober_probe_duration_seconds', 'How long the answer to a probe took', names)
  const stop = live.subscribe({
    changed: (before, after) => {
      if (after !== undefined || before === undefined) return
      total.remove({ pod_uid: before.metadata.uid ?? '' })
      times.remove({ pod: before.metadata.name, namespace: before.metadata.namespace ?? 'default' })
    },
  })
  const probed = ({ target, kind, answer, startedAt, endedAt }: ProbeReport) => {
    if (answer.outcome === 'error') return
    const { podName: pod, namespace, podUid: pod_uid } = target
    const labels = { probe_type: probeNames[kind], container: target.container.name, pod, namespace }
    total.inc({ ...labels, result: probeResults[answer.outcome], pod_uid })
    if (answer.outcome !== 'failure') times.observe(labels, Math.max(endedAt - startedAt, 0) / 1000)
  }
  return { probed, stop }
}

const fixedFamilies = ({ nodeName, version, cgroupVersion, certificates, clock }: KubeletMetricsDeps): readonly Family[] => {
  const set = createFamilySet()
  set.add(gauge('kubelet_node_name', 'Always 1; the name in the label'), { node: nodeName }, 1)
  set.add(gauge('kubernetes_build_info', 'Always 1; the version in the labels'), buildInfo(version), 1)
  set.add(gauge('kubelet_cgroup_version', 'Version of the cgroup hierarchy'), {}, cgroupVersion)
  const ends = certificates?.() ?? {}
  const left = (end: Millis | undefined) => (end === undefined ? undefined : (end - clock.now()) / 1000)
  const help = 'Seconds until the certificate ends; negative when it has ended'
  set.add(gauge('kubelet_certificate_manager_client_ttl_seconds', help), {}, left(ends.client))
  set.add(gauge('kubelet_certificate_manager_server_ttl_seconds', help), {}, left(ends.server))
  return set.families()
}

export const createKubeletMetrics = (deps: KubeletMetricsDeps): KubeletMetrics => {
  const { metrics, probeMetrics, live, wanted, bootedAt, clock } = deps
  const starts = createPodStarts({ metrics, live, clock })
  const probes = probeCounter(probeMetrics, live)
  const workers = podWorkerDuration(metrics)
  const statuses = metrics.histogram(
    'kubelet_pod_status_sync_duration_seconds',
    'From the change of a pod to the apiserver knowing of it',
    [],
    statusBuckets,
  )
  const evictions = metrics.counter('kubelet_evictions', 'Pods evicted, by what was short', ['eviction_signal'])
  const preemptions = metrics.counter('kubelet_preemptions', 'Pods ended for one that the node needs', ['preemption_signal'])
  const rejections = metrics.counter('kubelet_admission_rejections_total', 'Pods that were not admitted', ['reason'])
  const collected = metrics.counter('kubelet_image_garbage_collected_total', 'Images removed', ['reason'])
  metrics.collect(() => [...fixedFamilies(deps), ...toPodGauges(live.list(), wanted.list()), ...ownProcess(bootedAt)])
  probeMetrics.collect(() => ownProcess(bootedAt).filter(it => it.name === 'process_start_time_seconds'))
  const route =
    (of: Metrics): StatsRoute =>
    async () => ({ status: 200, type: expositionType, body: toExposition(await of.families()) })
  return {
    probed: probes.probed,
    measureClaims: folderOf => metrics.collect(() => claimFamilies(live.list(), folderOf)),
    onRequest: requestCounter(metrics, clock),
    apiRequest: apiCounter(metrics),
    relisted: relistCounter(metrics, clock),
    synced: (operation_type, seconds) => workers.observe({ operation_type }, seconds),
    statusSynced: seconds => statuses.observe({}, seconds),
    evicted: eviction_signal => evictions.inc({ eviction_signal }),
    preempted: preemption_signal => preemptions.inc({ preemption_signal }),
    rejected: reason => rejections.inc({ reason }),
    imagesCollected: (reason, count) => collected.inc({ reason }, count),
    measureImages: images => ({
      ...images,
      ensure: async (pod, container, options) => {
        let pullingSince: Millis | undefined
        const onEvent: EnsureOptions['onEvent'] = event => {
          if (event.reason === 'Pulling') pullingSince = clock.now()
          options?.onEvent?.(event)
        }
        try {
          return await images.ensure(pod, container, { ...options, onEvent })
        } finally {
          if (pullingSince !== undefined) starts.pulled(pod.metadata.uid ?? '', pullingSince)
        }
      },
    }),
    routes: () => ({ '/metrics': route(metrics), '/metrics/probes': route(probeMetrics) }),
    stop: () => {
      starts.stop()
      probes.stop()
    },
  }
}
