// The names that kube-proxy's dashboards look for, in each mode, and what is told when a round ends.
import t from 'tap'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { toExposition } from '../../host/exposition.ts'
import { createMetrics } from '../../host/metrics.ts'
import type { ProxyStatus } from '../main.ts'
import type { FamilyStatus, Round } from '../proxier.ts'
import { createProxyMetrics, triggerTimes } from './proxy-metrics.ts'

const second = 1000
const family: FamilyStatus = {
  ...{ queuedAt: 5_000, updatedAt: 6_000, waitingSince: undefined },
  ...{ failures: 3, partialFailures: 2, staleFlowsRemoved: 4 },
  rules: { nat: { total: 70, last: 8 }, filter: { total: 9, last: 1 } },
}

const slice = (name: string, changedAt?: number): EndpointSlice => ({
  metadata: {
    ...{ namespace: 'n', name },
    ...(changedAt !== undefined && {
      annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': new Date(changedAt).toISOString() },
    }),
  },
  ...{ addressType: 'IPv4', endpoints: [], ports: [] },
})

const begin = (mode: ProxyStatus['mode']) => {
  const clock = fakeClock()
  const metrics = createMetrics()
  const [services, endpointSlices] = [createStore<Service>(), createStore<EndpointSlice>()]
  const status = { mode, pending: { services: 1, endpoints: 2 }, perFamily: { IPv4: family }, drifts: 5 }
  const stranded = () => ({ internal: 6, external: 7 })
  const figures = createProxyMetrics({
    ...{ metrics, services, endpointSlices, clock, stranded, bootedAt: 0, status: () => status },
  })
  const scrape = async () => toExposition(await metrics.families()).split('\n')
  return { clock, figures, services, endpointSlices, scrape }
}

const ofEveryMode = [
  'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 6',
  'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv4"} 5',
  'kubeproxy_sync_proxy_rules_service_changes_pending 1',
  'kubeproxy_sync_proxy_rules_endpoint_changes_pending 2',
  'kubeproxy_sync_proxy_rules_service_changes_total 0',
  'kubeproxy_sync_proxy_rules_endpoint_changes_total 0',
  'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal",ip_family="IPv4"} 6',
  'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="external",ip_family="IPv4"} 7',
  'kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"} 4',
  'nodelet_proxy_drifts_total 5',
]
const modes = {
  nftables: [
    'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 3',
    'kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{ip_family="IPv4"} 0',
  ],
  iptables: [
    'kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"} 3',
    'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"} 2',
    'kubeproxy_sync_proxy_rules_iptables_total{table="nat",ip_family="IPv4"} 70',
    'kubeproxy_sync_proxy_rules_iptables_last{table="filter",ip_family="IPv4"} 1',
  ],
} as const

for (const mode of ['nftables', 'iptables'] as const)
  t.test(`what the mode ${mode} tells`, async t => {
    const lines = await begin(mode).scrape()
    for (const line of [...ofEveryMode, ...modes[mode]]) t.ok(lines.includes(line), line)
    for (const line of modes[mode === 'nftables' ? 'iptables' : 'nftables']) t.notOk(lines.includes(line), 'not of another mode')
    t.ok(lines.some(line => line.startsWith('kubernetes_build_info{')))
    t.ok(lines.some(line => line.startsWith('process_resident_memory_bytes ')))
  })

t.test('a round: how long writing took, whole or in part, and how long ago the change was', async t => {
  const { clock, figures, scrape } = begin('nftables')
  const round = (changedAt: number): Round => ({
    changes: [
      {
        key: 'n/web',
        before: { service: undefined, slices: [] },
        after: { service: undefined, slices: [slice('web-1', changedAt)] },
      },
    ],
    written: [{ family: 'IPv4', full: true, durationMs: 40, count: { transactions: 1, operations: 1 } }],
    standing: ['IPv4'],
    cleanedMs: 3,
  })
  const before = clock.now() - second
  figures.take(round(before))
  let lines = await scrape()
  t.ok(lines.includes('kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1'))
  t.ok(lines.includes('kubeproxy_sync_full_proxy_rules_duration_seconds_sum{ip_family="IPv4"} 0.04'))
  t.notOk(lines.some(line => line.startsWith('kubeproxy_sync_partial_proxy_rules_duration_seconds_count')))
  t.ok(lines.includes('kubeproxy_conntrack_reconciler_sync_duration_seconds_sum{ip_family="IPv4"} 0.003'))
  t.notOk(
    lines.some(line => line.startsWith('kubeproxy_network_programming')),
    'what is older than the proxy says nothing',
  )

  await clock.advance(10 * second)
  figures.take({ ...round(clock.now() - 400), written: [] })
  lines = await scrape()
  t.ok(lines.includes('kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="0.25"} 0'))
  t.ok(lines.includes('kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="0.5"} 1'))
  t.ok(lines.includes('kubeproxy_network_programming_duration_seconds_sum{ip_family="IPv4"} 0.4'))
})

t.test('a slice counts when it is new in the change, and of its family', async t => {
  const [old, fresh] = [slice('old', 10), slice('fresh', 20)]
  const change = {
    key: 'n/web',
    before: { service: undefined, slices: [old] },
    after: { service: undefined, slices: [old, fresh] },
  }
  t.same(triggerTimes(change, 'IPv4', 0), [20])
  t.same(triggerTimes(change, 'IPv6', 0), [])
  t.same(triggerTimes({ ...change, after: { service: undefined, slices: [slice('none')] } }, 'IPv4', 0), [])
})

t.test('changes and answers are counted', async t => {
  const { figures, services, endpointSlices, scrape } = begin('nftables')
  services.put({ metadata: { namespace: 'n', name: 'web' }, spec: {} } as Service)
  endpointSlices.put(slice('web-1'))
  endpointSlices.put(slice('web-1', 1))
  figures.asked('healthz', 200)
  figures.asked('livez', 503)
  let lines = await scrape()
  t.ok(lines.includes('kubeproxy_sync_proxy_rules_service_changes_total 1'))
  t.ok(lines.includes('kubeproxy_sync_proxy_rules_endpoint_changes_total 2'))
  t.ok(lines.includes('kubeproxy_proxy_healthz_total{code="200"} 1'))
  t.ok(lines.includes('kubeproxy_proxy_livez_total{code="503"} 1'))
  figures.stop()
  services.remove('n', 'web')
  lines = await scrape()
  t.ok(lines.includes('kubeproxy_sync_proxy_rules_service_changes_total 1'), 'and after the end no more')
})
