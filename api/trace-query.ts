// What `nodelet trace` asks of whoever routes Services, the daemon or a proxy that runs alone, as it comes in a URL. Pure.
import { Fault } from '../host/fault.ts'
import type { Protocol } from './meta.ts'

/** The way of a packet to a Service. */
export interface TraceQuery {
  /** `web`, `default/web`, `web:http`, `10.96.0.1:80`, `[fd00::1]:80` */
  readonly target: string
  /** Of a Service that is named without one. */
  readonly namespace: string
  /** Who calls: what it is called, and its addresses. */
  readonly from: { readonly name: string; readonly ips: readonly string[] } | undefined
  readonly protocol: Protocol | undefined
}

const protocols: Readonly<Record<string, Protocol>> = { tcp: 'TCP', udp: 'UDP', sctp: 'SCTP' }

/**
 * The question that the parameters ask.
 * @param toCaller who is meant by `from`: an address, or whatever else the one who is asked knows
 * @throws Fault `bad-config` that names the wrong parameter, and what `toCaller` throws
 */
export const toTraceQuery = (
  query: URLSearchParams,
  toCaller: (from: string, namespace: string) => TraceQuery['from'],
): TraceQuery => {
  const target = query.get('target') ?? ''
  if (target === '') throw new Fault('bad-config', 'target is missing: a Service or ADDRESS:PORT', { retry: 'never' })
  const namespace = query.get('namespace') ?? 'default'
  const wanted = query.get('protocol')
  const protocol = wanted === null ? undefined : protocols[wanted.toLowerCase()]
  if (wanted !== null && protocol === undefined)
    throw new Fault('bad-config', `protocol "${wanted}": want one of tcp, udp, sctp`, { retry: 'never' })
  const from = query.get('from')
  return { target, namespace, protocol, from: from === null ? undefined : toCaller(from, namespace) }
}
