// The families of /metrics/resource from what was sampled: what autoscalers and metrics-server read. Pure.
// Names, labels and which of them carry a time are those of the kubelet 1.36.
import { namespaceOf } from '../../api/pod.ts'
import type { Family } from '../../host/exposition.ts'
import { counter, createFamilySet, gauge, type MetricName } from './family-set.ts'
import type { Measured, NodeSample } from './sample.ts'

const names = {
  nodeCpu: counter('node_cpu_usage_seconds_total', 'Processor time that the node has used, in core-seconds'),
  nodeMemory: gauge('node_memory_working_set_bytes', 'Working set of the node'),
  nodeSwap: gauge('node_swap_usage_bytes', 'Swap that the node uses'),
  cpu: counter('container_cpu_usage_seconds_total', 'Processor time that the container has used, in core-seconds'),
  memory: gauge('container_memory_working_set_bytes', 'Working set of the container'),
  swap: gauge('container_swap_usage_bytes', 'Swap that the container uses'),
  swapLimit: gauge('container_swap_limit_bytes', 'Swap that the container may use'),
  started: gauge('container_start_time_seconds', 'When the container started, in seconds since the epoch'),
  podCpu: counter('pod_cpu_usage_seconds_total', 'Processor time that the pod has used, in core-seconds'),
  podMemory: gauge('pod_memory_working_set_bytes', 'Working set of the pod'),
  podSwap: gauge('pod_swap_usage_bytes', 'Swap that the pod uses'),
  failed: gauge('resource_scrape_error', '1 when the figures of containers could not be had, else 0'),
  failedOld: gauge('scrape_error', '1 when the figures of containers could not be had, else 0 (deprecated)'),
} satisfies Record<string, MetricName>

/** @param sample undefined when it could not be had: only that is told then */
export const toResourceFamilies = (sample: NodeSample | undefined): readonly Family[] => {
  const set = createFamilySet()
  const failed = sample === undefined ? 1 : 0
  set.add(names.failed, {}, failed)
  set.add(names.failedOld, {}, failed)
  if (sample === undefined) return set.families()
  const addUse = (
    use: Measured | undefined,
    labels: Record<string, string>,
    cpu: MetricName,
    memory: MetricName,
    swap: MetricName,
  ) => {
    if (use === undefined) return
    set.add(cpu, labels, use.cpu && use.cpu.usageNs / 1e9, use.at)
    set.add(memory, labels, use.memory?.workingSetBytes, use.at)
    set.add(swap, labels, use.memory?.swapBytes, use.at)
  }
  addUse(sample.node, {}, names.nodeCpu, names.nodeMemory, names.nodeSwap)
  for (const { pod, use, containers } of sample.pods) {
    const ofPod = { pod: pod.metadata.name, namespace: namespaceOf(pod) }
    for (const container of containers) {
      const labels = { container: container.name, ...ofPod }
      set.add(names.started, labels, container.startedAt / 1000)
      addUse(container.use, labels, names.cpu, names.memory, names.swap)
      set.add(names.swapLimit, labels, container.use?.memory?.swapLimitBytes, container.use?.at)
    }
    addUse(use, ofPod, names.podCpu, names.podMemory, names.podSwap)
  }
  return set.families()
}
