// A node of a cluster in memory: an apiserver, its pods as a watch tells them, the agent that runs them and the reporter that tells of them.
import { createFakeApi, type FakeApi } from '../../api/kube/api.fake.ts'
import { pods as podsResource } from '../../api/kube/api.ts'
import { createStore, type Store } from '../../api/source.ts'
import type { Pod, PodSpec } from '../../api/types.ts'
import { silentLog } from '../../host/log.ts'
import { namedPod, type Setup, setup } from '../agent.fake.ts'
import { type ClusterPods, createClusterPods } from '../sources/cluster.ts'
import { createPodReporter } from './pod-status.ts'

export interface ClusterSetup extends Omit<Setup, 'wanted'> {
  readonly api?: FakeApi
  readonly remembered?: readonly Pod[]
  /** The first list comes when `apiserver.markSynced()` is called. */
  readonly isAway?: boolean
}

/** All pods that the apiserver has, and then every change, as a reflector gives them. */
export const reflected = (api: FakeApi): Store<Pod> => {
  const store = createStore<Pod>()
  for (const it of api.all<Pod>(podsResource)) store.put(it)
  api.follow<Pod>(podsResource, (before, after) => {
    if (after !== undefined) store.put(after)
    else if (before !== undefined) store.remove(before.metadata.namespace ?? '', before.metadata.name)
  })
  return store
}

/** A pod as the scheduler left it. */
export const boundPod = (name: string, spec: Partial<PodSpec> = {}, uid?: string): Pod => {
  const pod = namedPod(name, { nodeName: 'n1', ...spec }, uid)
  const scheduled = { type: 'PodScheduled', status: 'True', lastTransitionTime: '2023-11-14T22:13:20Z' } as const
  return {
    ...pod,
    metadata: { ...pod.metadata, generation: 1, creationTimestamp: '2023-11-14T22:13:20Z' },
    status: { phase: 'Pending', conditions: [scheduled], qosClass: 'BestEffort' },
  }
}

export const clusterSetup = ({ api = createFakeApi(), remembered = [], isAway = false, ...more }: ClusterSetup = {}) => {
  const apiserver = reflected(api)
  const statics = createStore<Pod>()
  statics.markSynced()
  if (!isAway) apiserver.markSynced()
  let wanted: ClusterPods | undefined
  const node = setup({
    ...more,
    wanted: clock => {
      wanted = createClusterPods({ statics, apiserver, remembered, clock, log: silentLog })
      return wanted
    },
  })
  const reporter = createPodReporter({ api, live: node.live, apiserver, clock: node.clock, log: silentLog })
  const stop = () => {
    node.agent.stop()
    wanted?.stop()
    reporter.stop()
  }
  return {
    ...node,
    api,
    apiserver,
    statics,
    reporter,
    stop,
    /** The pod as the apiserver has it. */
    told: (name: string) => api.peek<Pod>(podsResource, 'default', name),
    writes: () =>
      api.calls.filter(it => it.verb !== 'list').map(it => (it.subresource ? `${it.verb} ${it.subresource}` : it.verb)),
  }
}
