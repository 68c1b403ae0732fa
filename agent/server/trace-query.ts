// Who is meant by `--from` of `nodelet trace`. Pure; a caller that is a pod becomes its addresses here, since only the daemon knows its
// pods.
import { isIP } from 'node:net'
import type { TraceQuery } from '../../api/trace-query.ts'
import type { Pod } from '../../api/types.ts'
import { findPod } from './find.ts'

const addressesOf = ({ status }: Pod): readonly string[] =>
  status?.podIPs?.map(({ ip }) => ip) ?? (status?.podIP ? [status.podIP] : [])

/** A caller by its address, or a pod of this node by its name. @throws Fault `not-found` with the names that come near */
export const toCaller =
  (pods: readonly Pod[]) =>
  (text: string, namespace: string): TraceQuery['from'] => {
    if (isIP(text) !== 0) return { name: text, ips: [text] }
    const [first = '', second] = text.replace(/^(po|pod|pods)\//, '').split('/')
    const pod = second === undefined ? findPod(pods, namespace, first) : findPod(pods, first, second)
    return { name: `pod ${pod.metadata.namespace ?? 'default'}/${pod.metadata.name}`, ips: addressesOf(pod) }
  }
