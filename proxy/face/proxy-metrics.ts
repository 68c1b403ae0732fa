// What the proxy tells of its own work on /metrics: recorded from rounds and from the sources, the rest read at a scrape.
// Names, labels and buckets are those of kube-proxy 1.36, so that its dashboards and alerts go on working.
import type { EndpointSlice, IPFamily, Service } from '../../api/service-types.ts'
import type { Source } from '../../api/source.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import type { Family, Sample } from '../../host/exposition.ts'
import { exponentialBuckets, type Metrics } from '../../host/metrics.ts'
import { ownProcess } from '../../host/own-process.ts'
import { buildInfo, kubeletVersion } from '../../host/version.ts'
import type { RuleCount } from '../backend.ts'
import type { ServiceChange } from '../changes.ts'
import type { ProxyStatus } from '../main.ts'
import type { FamilyStatus, Round, Stranded } from '../proxier.ts'

export interface ProxyMetricsDeps {
  readonly metrics: Metrics
  readonly services: Pick<Source<Service>, 'subscribe'>
  readonly endpointSlices: Pick<Source<EndpointSlice>, 'subscribe'>
  readonly status: () => Pick<ProxyStatus, 'mode' | 'pending' | 'perFamily' | 'drifts'>
  readonly stranded: (family: IPFamily) => Stranded
  /** When the machine was started. */
  readonly bootedAt: Millis
  readonly clock: Clock
}

export interface ProxyMetrics {
  take(round: Round): void
  asked(path: 'healthz' | 'livez', code: number): void
  stop(): void
}

const steps = (start: number, step: number, count: number) => Array.from({ length: count }, (_, index) => start + index * step)
const programmingBuckets = [...steps(0.25, 0.25, 2), ...steps(1, 1, 59), ...steps(60, 5, 12), ...steps(120, 30, 7)]
const syncBuckets = exponentialBuckets(0.001, 2, 15)
const triggerAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time'

/**
 * When what the new slices of a change tell of had happened, in milliseconds; that of before `since` is left out, for what was
 * there already when the proxy started says nothing of how long it took.
 */
export const triggerTimes = ({ before, after }: ServiceChange, family: IPFamily, since: Millis): readonly Millis[] =>
  after.slices
    .filter(slice => slice.addressType === family && !before.slices.includes(slice))
    .map(slice => Date.parse(slice.metadata.annotations?.[triggerAnnotation] ?? ''))
    .filter(at => at > since)

type Name = readonly [name: string, help: string, type: 'counter' | 'gauge']

type FamilyFigure = readonly [Name, (status: FamilyStatus) => number | undefined]

const counterOf = (name: string, help: string, read: (status: FamilyStatus) => number): FamilyFigure => [
  [`kubeproxy_${name}`, help, 'counter'],
  read,
]

const restoreFailures = counterOf(
  'sync_proxy_rules_iptables_restore_failures_total',
  'Times that iptables-restore refused',
  it => it.failures,
)

/** What kube-proxy has in one mode alone. */
const perMode: Readonly<Record<ProxyStatus['mode'], readonly FamilyFigure[]>> = {
  nftables: [
    counterOf('sync_proxy_rules_nftables_sync_failures_total', 'Transactions that nftables refused', it => it.failures),
    // Chains that are not used any more go in the transaction that makes them so: there is no clean-up that could fail.
    counterOf('sync_proxy_rules_nftables_cleanup_failures_total', 'Clean-ups that nftables refused', () => 0),
  ],
  iptables: [
    restoreFailures,
    counterOf(
      'sync_proxy_rules_iptables_partial_restore_failures_total',
      'Times that iptables-restore refused changes',
      it => it.partialFailures,
    ),
  ],
  ipvs: [restoreFailures],
}

/** What is kept elsewhere and only read here. */
const perFamily: readonly FamilyFigure[] = [
  [
    ['kubeproxy_sync_proxy_rules_last_timestamp_seconds', 'When the kernel last held everything', 'gauge'],
    it => it.updatedAt && it.updatedAt / 1000,
  ],
  [
    ['kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds', 'When something was last to be written', 'gauge'],
    it => it.queuedAt && it.queuedAt / 1000,
  ],
  counterOf(
    'conntrack_reconciler_deleted_entries_total',
    'Stale conntrack entries that were removed',
    it => it.staleFlowsRemoved,
  ),
]

const strandedFamily = (families: readonly IPFamily[], stranded: ProxyMetricsDeps['stranded']): Family => ({
  name: 'kubeproxy_sync_proxy_rules_no_local_endpoints_total',
  help: 'Ports of Services whose policy is Local, with endpoints on other nodes alone',
  type: 'gauge',
  samples: families.flatMap(ip_family => {
    const { internal, external } = stranded(ip_family)
    return [
      { labels: { traffic_policy: 'internal', ip_family }, value: internal },
      { labels: { traffic_policy: 'external', ip_family }, value: external },
    ]
  }),
})

/** Of the iptables mode, where rules grow with the Services. */
const ruleFamilies = (families: readonly (readonly [IPFamily, FamilyStatus])[]): readonly Family[] => {
  const of = (name: string, help: string, read: (count: RuleCount) => number): Family => ({
    ...{ name: `kubeproxy_sync_proxy_rules_iptables_${name}`, help, type: 'gauge' },
    samples: families.flatMap(([ip_family, { rules }]) =>
      Object.entries(rules).map(([table, count]) => ({ labels: { table, ip_family }, value: read(count) })),
    ),
  })
  return [
    of('total', 'Rules of iptables that stand', it => it.total),
    of('last', 'Rules of iptables that the last sync wrote', it => it.last),
  ]
}

const statusFamilies = ({ status, stranded }: Pick<ProxyMetricsDeps, 'status' | 'stranded'>): readonly Family[] => {
  const now = status()
  const one = (name: string, help: string, value: number, type: Name[2] = 'gauge'): Family => ({
    ...{ name, help, type },
    samples: [{ value }],
  })
  const families = Object.entries(now.perFamily) as [IPFamily, FamilyStatus][]
  const byFamily = [...perFamily, ...perMode[now.mode]].map(([[name, help, type], read]): Family => {
    const samples = families.flatMap(([ip_family, it]): Sample[] => {
      const value = read(it)
      return value === undefined ? [] : [{ labels: { ip_family }, value }]
    })
    return { name, help, type, samples }
  })
  const { services, endpoints } = now.pending
  return [
    ...byFamily,
    ...(now.mode === 'iptables' ? ruleFamilies(families) : []),
    strandedFamily(
      families.map(([family]) => family),
      stranded,
    ),
    one('kubeproxy_sync_proxy_rules_service_changes_pending', 'Changes of Services that wait to be written', services),
    one('kubeproxy_sync_proxy_rules_endpoint_changes_pending', 'Changes of EndpointSlices that wait to be written', endpoints),
    one('nodelet_proxy_drifts_total', 'How often somebody else removed rules', now.drifts, 'counter'),
    {
      ...{ name: 'kubernetes_build_info', help: 'Always 1; the version in the labels', type: 'gauge' },
      samples: [{ labels: buildInfo(kubeletVersion), value: 1 }],
    },
  ]
}

/** Records from now on. */
export const createProxyMetrics = (deps: ProxyMetricsDeps): ProxyMetrics => {
  const { metrics, clock, bootedAt } = deps
  const since = clock.now()
  const label = ['ip_family'] as const
  const duration = (name: string, help: string) => metrics.histogram(`kubeproxy_${name}`, help, label, syncBuckets)
  const all = duration('sync_proxy_rules_duration_seconds', 'How long writing the rules took')
  const full = duration('sync_full_proxy_rules_duration_seconds', 'How long writing all rules took')
  const partial = duration('sync_partial_proxy_rules_duration_seconds', 'How long writing changed rules took')
  const programming = metrics.histogram(
    'kubeproxy_network_programming_duration_seconds',
    'From the change of a Service or pod to its rules in the kernel',
    label,
    programmingBuckets,
  )
  const cleaning = duration('conntrack_reconciler_sync_duration_seconds', 'How long looking for stale conntrack entries took')
  const counter = (name: string, help: string) => metrics.counter(`kubeproxy_${name}`, help)
  const services = counter('sync_proxy_rules_service_changes_total', 'Changes of Services that were told')
  const slices = counter('sync_proxy_rules_endpoint_changes_total', 'Changes of EndpointSlices that were told')
  const healthz = metrics.counter('kubeproxy_proxy_healthz_total', 'Answers of /healthz by status', ['code'])
  const livez = metrics.counter('kubeproxy_proxy_livez_total', 'Answers of /livez by status', ['code'])
  const stops = [
    deps.services.subscribe({ changed: () => services.inc({}) }),
    deps.endpointSlices.subscribe({ changed: () => slices.inc({}) }),
  ]
  metrics.collect(() => [...statusFamilies(deps), ...ownProcess(bootedAt)])
  return {
    take: ({ changes, written, standing, cleanedMs }) => {
      for (const { family: ip_family, full: isFull, durationMs } of written) {
        all.observe({ ip_family }, durationMs / 1000)
        ;(isFull ? full : partial).observe({ ip_family }, durationMs / 1000)
      }
      const now = clock.now()
      for (const ip_family of standing) cleaning.observe({ ip_family }, cleanedMs / 1000)
      for (const ip_family of standing)
        for (const change of changes)
          for (const at of triggerTimes(change, ip_family, since))
            programming.observe({ ip_family }, Math.max(now - at, 0) / 1000)
    },
    asked: (path, code) => (path === 'healthz' ? healthz : livez).inc({ code: String(code) }),
    stop: () => {
      for (const stop of stops) stop()
    },
  }
}
