// What kube-proxy sets besides rules: the size and the times of connection tracking.
// Follows kube-proxy 1.36 (pkg/proxy/conntrack/sysctls.go).
import { availableParallelism } from 'node:os'
import type { ProxyConfig } from '../api/config/proxy-config.ts'
import { bringKernelSetting } from '../host/kernel-setting.ts'
import type { Log } from '../host/log.ts'

/** However many processors there are: each tracked connection takes memory. */
const mostConnections = 1024 * 1024

/** How many connections are to be tracked; undefined to leave it as it is. */
export const toConntrackMax = ({ maxPerCore, min }: ProxyConfig['conntrack'], cpus: number): number | undefined => {
  const scaled = maxPerCore * cpus
  if (maxPerCore <= 0) return undefined
  return scaled > mostConnections ? mostConnections : Math.max(scaled, min)
}

/** The files below /proc/sys/net/netfilter and what they are to hold. */
export const toConntrackSettings = (conntrack: ProxyConfig['conntrack'], cpus: number): ReadonlyMap<string, number> => {
  const seconds = (ms: number) => (ms > 0 ? Math.trunc(ms / 1000) : undefined)
  const wanted: Readonly<Record<string, number | undefined>> = {
    nf_conntrack_max: toConntrackMax(conntrack, cpus),
    nf_conntrack_tcp_timeout_established: seconds(conntrack.tcpEstablishedTimeout),
    nf_conntrack_tcp_timeout_close_wait: seconds(conntrack.tcpCloseWaitTimeout),
    nf_conntrack_tcp_be_liberal: conntrack.tcpBeLiberal ? 1 : undefined,
    nf_conntrack_udp_timeout: seconds(conntrack.udpTimeout),
    nf_conntrack_udp_timeout_stream: seconds(conntrack.udpStreamTimeout),
  }
  return new Map(Object.entries(wanted).flatMap(([file, value]) => (value === undefined ? [] : [[file, value] as const])))
}

/** Limits of connection tracking. @param root where /proc is; tests give a folder */
export const limitConntrack = async (conntrack: ProxyConfig['conntrack'], log: Log, root = '/proc'): Promise<void> => {
  for (const [file, value] of toConntrackSettings(conntrack, availableParallelism()))
    await bringKernelSetting({ path: `sys/net/netfilter/${file}`, value }, log, root)
}
