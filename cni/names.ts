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
