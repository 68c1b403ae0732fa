// /pods and /runningpods/: the pods of this node as it wants them, with their live status, and as the runtime runs them.
import type { Cri } from '../../api/cri/cri.ts'
import type { ContainerState, PodSandboxState } from '../../api/cri/types.ts'
import type { Pod } from '../../api/types.ts'
import { containerNameLabel, podNameLabel, podNamespaceLabel, podUidLabel } from '../labels.ts'
import type { NodeView } from '../server/view.ts'
import { type Answer, json } from './answer.ts'

const toList = (items: readonly object[]): Answer => json({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items })

// The items of a typed list carry no type of their own.
const untyped = ({ apiVersion: _, kind: __, ...pod }: Pod): object => pod

export const listPods = (view: Pick<NodeView, 'pods'>): Answer => toList(view.pods().map(untyped))

const running: ContainerState = 'CONTAINER_RUNNING'
const ready: PodSandboxState = 'SANDBOX_READY'

/** What runs now, as bare pods of names, uids and images: the runtime knows no more. */
export const listRunningPods = async (cri: Pick<Cri, 'listPodSandbox' | 'listContainers'>): Promise<Answer> => {
  const [sandboxes, containers] = await Promise.all([
    cri.listPodSandbox({ state: { state: ready } }),
    cri.listContainers({ state: { state: running } }),
  ])
  const pods = sandboxes.map(({ id, labels }) => ({
    metadata: { name: labels[podNameLabel] ?? '', namespace: labels[podNamespaceLabel] ?? '', uid: labels[podUidLabel] ?? '' },
    spec: {
      containers: containers
        .filter(it => it.podSandboxId === id)
        .map(it => ({ name: it.labels[containerNameLabel] ?? it.metadata.name, image: it.image?.image ?? '', resources: {} })),
    },
    status: {},
  }))
  return toList(pods.filter(it => it.metadata.uid !== ''))
}
