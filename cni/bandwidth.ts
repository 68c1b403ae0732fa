// The pod's bandwidth limits: a token bucket on the host's end of the pair for what the pod receives, and one on an ifb device,
// to which what the pod sends is redirected. Compiles commands of tc(8) and ip(8). Pure.
// Follows the reference bandwidth plugin: 25 ms of latency, rates in bits per second, bursts in bits.
import type { Bandwidth } from './conf.ts'
import { shaperOf } from './names.ts'
import type { Attachment } from './store.ts'

// tc keeps the time that a burst takes in 32 bits of 64 ns; a burst of more than 200 s does not fit, and limits nothing either.
const longestBurstSeconds = 200

const bucket = (device: string, rate: number, burst: number): string => {
  const bytes = Math.min(Math.ceil(burst / 8), Math.floor(rate / 8) * longestBurstSeconds, 2 ** 32 - 1)
  // A bucket smaller than one packet passes nothing at all.
  return `qdisc add dev ${device} root tbf rate ${rate}bit burst ${Math.max(bytes, 2048)} latency 25ms`
}

/** Whether a pod is limited at all. */
export const isShaped = (bandwidth: Bandwidth | undefined): bandwidth is Bandwidth =>
  bandwidth !== undefined && (bandwidth.ingressRate > 0 || bandwidth.egressRate > 0)

/** The device that shapes what a pod sends. */
export const shaperCommands = ({ hostLink, bandwidth }: Attachment, mtu: number): readonly string[] =>
  bandwidth !== undefined && bandwidth.egressRate > 0
    ? [`link add ${shaperOf(hostLink)} mtu ${mtu} type ifb`, `link set dev ${shaperOf(hostLink)} up`]
    : []

/** The limits themselves, for tc. */
export const bandwidthCommands = ({ hostLink, bandwidth }: Attachment): readonly string[] => {
  if (bandwidth === undefined) return []
  const shaper = shaperOf(hostLink)
  return [
    ...(bandwidth.ingressRate > 0 ? [bucket(hostLink, bandwidth.ingressRate, bandwidth.ingressBurst)] : []),
    ...(bandwidth.egressRate > 0
      ? [
          bucket(shaper, bandwidth.egressRate, bandwidth.egressBurst),
          `qdisc add dev ${hostLink} handle ffff: ingress`,
          `filter add dev ${hostLink} parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev ${shaper}`,
        ]
      : []),
  ]
}
