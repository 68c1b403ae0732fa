import t from 'tap'
import { createCriFake } from '../../api/cri/cri.fake.ts'
import type { ContainerState } from '../../api/pod-status.ts'
import { createStore } from '../../api/source.ts'
import type { Container, Pod, PodSpec } from '../../api/types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { readExposition, sampleValue } from '../../host/exposition.fake.ts'
import { createMetrics } from '../../host/metrics.ts'
import { toOpenFilesLimit, toStatFields } from '../../host/own-process.ts'
import type { Outcome } from '../../probes/probe.ts'
import type { Images } from '../images.ts'
import { measureCri } from './cri-metrics.ts'
import { createKubeletMetrics } from './kubelet-metrics.ts'
import { covered } from './pod-start.ts'

const pod = (
  name: string,
  state: ContainerState | undefined,
  more: { spec?: Partial<PodSpec>; isStatic?: boolean } = {},
): Pod => ({
  metadata: {
    ...{ name, namespace: 'shop', uid: `uid-${name}`, creationTimestamp: new Date(1_700_000_000_000).toISOString() },
    ...(more.isStatic && { annotations: { 'kubernetes.io/config.source': 'file' } }),
  },
  spec: { containers: [{ name: 'web', image: 'i' }], ...more.spec },
  status: {
    phase: state?.running ? 'Running' : 'Pending',
    containerStatuses: [{ name: 'web', ready: false, restartCount: 0, image: 'i', imageID: '', state: state ?? { waiting: {} } }],
  },
})

const running: ContainerState = { running: { startedAt: '2023-11-14T22:13:25Z' } }

const setup = () => {
  const clock = fakeClock()
  const [metrics, probeMetrics] = [createMetrics(), createMetrics()]
  const [live, wanted] = [createStore<Pod>(), createStore<Pod>()]
  const certificates = () => ({ client: clock.now() + 3_600_000 })
  const kubelet = createKubeletMetrics({
    ...{ metrics, probeMetrics, nodeName: 'n1', version: 'v1.36.3+nodelet.1', cgroupVersion: 2, bootedAt: clock.now() },
    ...{ live, wanted, certificates, clock },
  })
  const scrape = async (path: '/metrics' | '/metrics/probes' = '/metrics') =>
    readExposition((await kubelet.routes()[path]?.({ query: new URLSearchParams() }))?.body ?? '')
  return { clock, metrics, live, wanted, kubelet, scrape }
}

t.test('calls to the runtime are counted and timed under the kubelet’s operation types', async t => {
  const { clock, metrics, live, scrape } = setup()
  const cri = measureCri(createCriFake({ clock, images: ['i'] }), { metrics, clock, pods: live.list })
  live.put(pod('a', undefined, { spec: { initContainers: [{ name: 'first', image: 'i' }] } }))
  const metadata = { name: 'a', namespace: 'shop', uid: 'uid-a', attempt: 0 }
  const sandbox = await cri.runPodSandbox({ metadata })
  for (const name of ['first', 'web']) {
    const labels = { 'io.kubernetes.pod.uid': 'uid-a', 'io.kubernetes.container.name': name }
    const config = { metadata: { name, attempt: 0 }, image: { image: 'i' }, labels }
    await cri.startContainer(await cri.createContainer(sandbox, config, { metadata }))
  }
  await t.rejects(cri.createContainer('none', { metadata: { name: 'x', attempt: 0 }, image: { image: 'i' } }, { metadata }))
  await t.rejects(cri.containerStatus('none'))
  const seen = await scrape()
  const calls = (operation_type: string) => sampleValue(seen, 'kubelet_runtime_operations_total', { operation_type })
  t.match([calls('run_podsandbox'), calls('create_container'), calls('start_container')], [1, 3, 2])
  t.equal(sampleValue(seen, 'kubelet_runtime_operations_errors_total', { operation_type: 'container_status' }), 1)
  t.equal(sampleValue(seen, 'kubelet_runtime_operations_duration_seconds_count', { operation_type: 'create_container' }), 3)
  t.equal(sampleValue(seen, 'kubelet_started_pods_total'), 1)
  t.equal(sampleValue(seen, 'kubelet_started_pods_errors_total'), 0)
  t.equal(sampleValue(seen, 'kubelet_started_containers_total', { container_type: 'init_container' }), 1)
  const failed = { container_type: 'container', code: 'CreateContainerError' }
  t.equal(sampleValue(seen, 'kubelet_started_containers_errors_total', failed), 1)
})

t.test('a pod’s start counts from its creation, without the pull of its image', async t => {
  const { clock, live, kubelet, scrape } = setup()
  const images: Images = {
    ensure: async (_pod: Pod, _container: Container, options) => {
      options?.onEvent?.({ type: 'Normal', reason: 'Pulling', message: '' })
      await clock.sleep(3000)
      return { imageRef: 'i', imageId: 'i', pulled: true, durationMs: 3000 }
    },
    retryAt: () => undefined,
    forget: () => undefined,
  }
  await clock.advance(1000)
  live.put(pod('a', undefined))
  const pulling = kubelet.measureImages(images).ensure(pod('a', undefined), { name: 'web', image: 'i' })
  await clock.advance(3000)
  await pulling
  await clock.advance(1000)
  live.put(pod('a', running))
  live.put({ ...pod('a', running) })
  const seen = await scrape()
  t.equal(sampleValue(seen, 'kubelet_pod_start_duration_seconds_sum'), 4)
  t.equal(sampleValue(seen, 'kubelet_pod_start_total_duration_seconds_sum'), 5)
  t.equal(sampleValue(seen, 'kubelet_pod_start_sli_duration_seconds_sum'), 2)
  t.equal(sampleValue(seen, 'kubelet_pod_start_duration_seconds_count'), 1, 'once')
})

for (const [name, given, counted] of [
  ['a pod that ran before this daemon did is not measured', pod('a', running), [0, 0]],
  ['a static pod is measured from when it was seen only', pod('a', undefined, { isStatic: true }), [1, 0]],
  [
    'a pod with volumes that live elsewhere is no case for the service level',
    pod('a', undefined, { spec: { volumes: [{ name: 'v', hostPath: { path: '/x' } }] } }),
    [1, 0],
  ],
] as const) {
  t.test(name, async t => {
    const { live, scrape } = setup()
    live.put(given)
    live.put({ ...given, status: pod('a', running).status as NonNullable<Pod['status']> })
    const seen = await scrape()
    const count = (key: string) => sampleValue(seen, `kubelet_pod_start_${key}_seconds_count`)
    t.same([count('duration'), count('sli_duration')], counted)
  })
}

t.test('probes are counted by result, errors are not, and a pod that is gone takes its series along', async t => {
  const { live, kubelet, scrape } = setup()
  live.put(pod('a', running))
  const target = {
    ...{ podUid: 'uid-a', namespace: 'shop', podName: 'a', podIPs: [], containerId: 'c', startedAt: 0 },
    container: { name: 'web', image: 'i' },
  }
  for (const outcome of ['success', 'warning', 'failure', 'error'] satisfies Outcome[]) {
    kubelet.probed({ target, kind: 'readiness', answer: { outcome, message: '' }, startedAt: 1000, endedAt: 1250 })
  }
  const seen = await scrape('/metrics/probes')
  const labels = { probe_type: 'Readiness', pod: 'a', namespace: 'shop', container: 'web', pod_uid: 'uid-a' }
  t.equal(sampleValue(seen, 'prober_probe_total', { ...labels, result: 'successful' }), 2)
  t.equal(sampleValue(seen, 'prober_probe_total', { ...labels, result: 'failed' }), 1)
  t.equal(sampleValue(seen, 'prober_probe_duration_seconds_sum', { probe_type: 'Readiness', pod: 'a' }), 0.5)
  t.ok(sampleValue(seen, 'process_start_time_seconds'))
  live.remove('shop', 'a')
  t.same(
    (await scrape('/metrics/probes')).filter(it => it.name.startsWith('prober_')),
    [],
  )
})

t.test('a scrape counts what there is', async t => {
  const { live, wanted, kubelet, scrape } = setup()
  const emptyDir = { spec: { volumes: [{ name: 'v', emptyDir: {} }] } }
  for (const it of [pod('a', running, emptyDir), pod('b', undefined), pod('s', running, { isStatic: true })]) live.put(it)
  live.put(pod('done', { terminated: { exitCode: 0 } }))
  wanted.put(pod('a', undefined, emptyDir))
  const end = kubelet.onRequest({ method: 'GET', path: 'pods', server_type: 'readwrite', long_running: 'false' })
  kubelet.apiRequest({ method: 'GET', host: '10.0.0.1:6443', code: '200', seconds: 0.02 })
  kubelet.evicted('memory.available')
  const seen = await scrape()
  for (const [name, labels, value] of [
    ['kubelet_running_pods', {}, 2],
    ['kubelet_running_containers', { container_state: 'running' }, 2],
    ['kubelet_running_containers', { container_state: 'exited' }, 1],
    ['kubelet_desired_pods', { static: '' }, 1],
    ['kubelet_active_pods', { static: 'true' }, 1],
    ['kubelet_mirror_pods', {}, 1],
    ['kubelet_working_pods', { lifecycle: 'sync', config: 'desired' }, 1],
    ['volume_manager_total_volumes', { plugin_name: 'kubernetes.io/empty-dir', state: 'actual_state_of_world' }, 1],
    ['kubelet_node_name', { node: 'n1' }, 1],
    ['kubernetes_build_info', { major: '1', minor: '36' }, 1],
    ['kubelet_certificate_manager_client_ttl_seconds', {}, 3600],
    ['kubelet_certificate_manager_server_ttl_seconds', {}, undefined],
    ['kubelet_http_inflight_requests', { path: 'pods' }, 1],
    ['kubelet_http_requests_total', { path: 'pods', method: 'GET' }, 1],
    ['rest_client_requests_total', { code: '200', method: 'GET', host: '10.0.0.1:6443' }, 1],
    ['kubelet_evictions', { eviction_signal: 'memory.available' }, 1],
    ['kubelet_preemptions', {}, undefined],
  ] as const) {
    t.equal(sampleValue(seen, name, labels), value, `${name} ${JSON.stringify(labels)}`)
  }
  t.ok((sampleValue(seen, 'process_resident_memory_bytes') ?? 0) > 1e6)
  t.ok((sampleValue(seen, 'process_open_fds') ?? 0) > 3)
  end()
  t.equal(sampleValue(await scrape(), 'kubelet_http_inflight_requests', { path: 'pods' }), 0)
})

t.test('pulls that overlap count once', async t => {
  const spans = [
    { from: 5, to: 8 },
    { from: 0, to: 4 },
    { from: 3, to: 6 },
  ]
  t.equal(covered(spans), 8)
})

t.test('the kernel’s own texts are read', async t => {
  t.same(toStatFields('12 (a b) c) S 1 2').slice(1), [1, 2])
  t.equal(
    toOpenFilesLimit('Max cpu time   unlimited  unlimited seconds\nMax open files            1024    4096    files\n'),
    1024,
  )
  t.equal(toOpenFilesLimit('Max open files            unlimited    unlimited    files\n'), -1)
})
