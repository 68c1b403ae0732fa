// Names and hardware addresses, derived from what a container is and not remembered: a call that was killed halfway is found again.
// Pure.
import { createHash } from 'node:crypto'
import type { AttachmentKey } from './conf.ts'

/** What the names of our interfaces begin with; nobody else's may be taken for ours. */
export const hostLinkPrefix = 'nlp'
export const shaperPrefix = 'nlb'

const digest = (...parts: readonly string[]): string => createHash('sha256').update(parts.join('\0')).digest('hex')

/** The host's end of a pod's pair: 15 characters, the longest that the kernel takes. */
export const hostLinkOf = ({ containerId, ifname }: AttachmentKey): string =>
  hostLinkPrefix + digest(containerId, ifname).slice(0, 12)

/** The interface that shapes what a pod sends, beside its pair. */
export const shaperOf = (hostLink: string): string => shaperPrefix + hostLink.slice(hostLinkPrefix.length)

/** A locally administered unicast address. */
export const macOf = (...parts: readonly string[]): string =>
  [
    '0a',
    ...(digest('mac', ...parts)
      .slice(0, 10)
      .match(/../g) ?? []),
  ].join(':')

/** The address of IPv6 that an interface with this hardware address gives itself (RFC 4291, appendix A). */
export const linkLocalOf = (mac: string): string => {
  const [first = 0, ...rest] = mac.split(':').map(byte => Number.parseInt(byte, 16))
  const bytes = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)]
  const words = [0, 2, 4, 6].map(at => (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)).toString(16))
  return `fe80::${words.join(':')}`
}
