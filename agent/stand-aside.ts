// Who routes Services on this node: our proxy, unless a pod of kube-proxy's runs here (label k8s-app: kube-proxy, as kubeadm's has).
// Two proxies would translate each packet twice. Says each change; one step at a time, the newest wish wins.
import type { Source } from '../api/source.ts'
import type { Pod } from '../api/types.ts'
import { describe } from '../host/fault.ts'
import type { Log } from '../host/log.ts'

const isOver = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp !== undefined || status?.phase === 'Succeeded' || status?.phase === 'Failed'

export const isKubeProxy = (pod: Pod): boolean => pod.metadata.labels?.['k8s-app'] === 'kube-proxy' && !isOver(pod)

export interface StandAsideDeps {
  /** What the node should run. */
  readonly pods: Pick<Source<Pod>, 'list' | 'subscribe'>
  /** Resolves when it is known who is wanted, or was waited for long enough. */
  readonly known: Promise<unknown>
  readonly begin: () => void
  /** Ends the proxy and takes its rules away. */
  readonly end: () => Promise<void>
  readonly log: Log
}

/** Returns how to stop looking; the proxy stays as it is then. */
export const standAside = ({ pods, known, begin, end, log }: StandAsideDeps): (() => void) => {
  let routes = false
  let working: Promise<void> = Promise.resolve()
  let isStopped = false
  const weigh = async () => {
    const other = pods.list().find(isKubeProxy)
    const should = other === undefined
    if (isStopped || should === routes) return
    routes = should
    if (should) return begin()
    log.info({ pod: other.metadata.name }, 'a pod of kube-proxy routes Services on this node: nodelet stands aside')
    await end().catch(error => log.error({ err: error }, `rules of Services could not be removed: ${describe(error)}`))
  }
  const look = () => {
    working = working.then(weigh)
  }
  let unsubscribe: (() => void) | undefined
  void known.finally(() => {
    if (isStopped) return
    unsubscribe = pods.subscribe({
      changed: (before, after) => {
        if ((before && isKubeProxy(before)) !== (after && isKubeProxy(after))) look()
      },
    })
    look()
  })
  return () => {
    isStopped = true
    unsubscribe?.()
  }
}
