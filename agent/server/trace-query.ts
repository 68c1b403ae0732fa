// Reads what a client asks of `/v1/trace`: which Service, who calls, by which protocol. Pure; a caller that is a pod becomes its
// addresses here, since only the daemon knows its pods.
import { isIP } from 'node:net'
import type { Pod, Protocol } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'
import { findPod } from './find.ts'
import type { TraceQuery } from './wire.ts'

const protocols: Readonly<Record<string, Protocol>> = { tcp: 'TCP', udp: 'UDP', sctp: 'SCTP' }

const addressesOf = ({ status }: Pod): readonly string[] =>
  status?.podIPs?.map(({ ip }) => ip) ?? (status?.podIP ? [status.podIP] : [])

/** A caller by its address, or a pod of this node by its name. @throws Fault `not-found` with the names that come near */
const toCaller = (text: string, namespace: string, pods: readonly Pod[]): TraceQuery['from'] => {
  if (isIP(text) !== 0) return { name: text, ips: [text] }
  const [first = '', second] = text.replace(/^(po|pod|pods)\//, '').split('/')
  const pod = second === undefined ? findPod(pods, namespace, first) : findPod(pods, first, second)
  return { name: `pod ${pod.metadata.namespace ?? 'default'}/${pod.metadata.name}`, ips: addressesOf(pod) }
}

/** The question that the parameters ask. @throws Fault `bad-config` that names the wrong one, `not-found` for a caller that is not here */
export const toTraceQuery = (query: URLSearchParams, pods: readonly Pod[]): TraceQuery => {
  const target = query.get('target') ?? ''
  if (target === '') throw new Fault('bad-config', 'target is missing: a Service or ADDRESS:PORT', { retry: 'never' })
  const namespace = query.get('namespace') ?? 'default'
  const wanted = query.get('protocol')
  const protocol = wanted === null ? undefined : protocols[wanted.toLowerCase()]
  if (wanted !== null && protocol === undefined)
    throw new Fault('bad-config', `protocol "${wanted}": want one of tcp, udp, sctp`, { retry: 'never' })
  const from = query.get('from')
  return { target, namespace, protocol, from: from === null ? undefined : toCaller(from, namespace, pods) }
}
