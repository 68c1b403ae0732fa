// Garbage: attachments that nobody owns any more, and interfaces of ours that no attachment knows.
// A sandbox that is being made is in no list of the runtime yet: what is young and still has its namespace is left alone.
import { access } from 'node:fs/promises'
import { isFault } from '../host/fault.ts'
import { detach } from './attach.ts'
import type { ShownLink } from './bridge.ts'
import type { AttachmentKey } from './conf.ts'
import { hostLinkPrefix, shaperOf, shaperPrefix } from './names.ts'
import type { CniDeps, Networks } from './networks.ts'
import type { Attachment } from './store.ts'

/** How long a runtime may take for a sandbox before it lists it: the CRI's own deadline for RunPodSandbox. */
export const youngMs = 240_000

/** The interfaces by our names that no attachment knows: pairs without a bridge or on one of ours, and shapers. */
export const orphansOf = (
  shown: readonly ShownLink[],
  attachments: readonly Attachment[],
  bridges: readonly string[],
): readonly string[] => {
  const known = new Set(attachments.flatMap(({ hostLink }) => [hostLink, shaperOf(hostLink)]))
  const ours = ({ ifname, master }: ShownLink) =>
    ifname.startsWith(shaperPrefix) || (ifname.startsWith(hostLinkPrefix) && (master === undefined || bridges.includes(master)))
  return shown
    .filter(link => /^nl[pb][0-9a-f]{12}$/.test(link.ifname) && ours(link) && !known.has(link.ifname))
    .map(link => link.ifname)
}

/** Removes interfaces that no attachment knows. @returns their names */
export const sweepLinks = async (deps: CniDeps, networks: Networks): Promise<readonly string[]> => {
  await networks.retirement.settled()
  const shown = await deps.link.query<ShownLink>(['addr', 'show'])
  const bridges = networks.all().map(({ network }) => network.bridge)
  const orphans = orphansOf(shown, networks.attachments(), bridges)
  try {
    await deps.link.batch(
      orphans.map(name => `link del dev ${name}`),
      { keepGoing: true },
    )
  } catch (error) {
    if (!isFault(error, 'not-found')) throw error
  }
  return orphans
}

const detachAll = async (deps: CniDeps, networks: Networks, attachments: readonly Attachment[]): Promise<void> => {
  for (const attachment of attachments) {
    deps.log.info(
      { container: attachment.containerId, pod: attachment.pod, addresses: attachment.addresses },
      'releasing a forgotten attachment',
    )
    await detach(deps, networks, attachment.network, attachment)
  }
}

/**
 * GC: releases what is not among the attachments that the runtime still knows of one network.
 * @throws Fault when the kernel keeps something
 */
export const collect = async (
  deps: CniDeps,
  networks: Networks,
  network: string,
  valid: readonly AttachmentKey[],
): Promise<void> => {
  const keep = new Set(valid.map(({ containerId, ifname }) => `${containerId}/${ifname}`))
  const attachments = networks.find(network)?.store.all() ?? []
  await detachAll(
    deps,
    networks,
    attachments.filter(({ containerId, ifname }) => !keep.has(`${containerId}/${ifname}`)),
  )
  await sweepLinks(deps, networks)
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

/**
 * Releases the attachments of containers that are not in a runtime's list, unless they are young and their namespace is still there.
 * @returns what was released
 */
export const releaseUnknown = async (
  deps: CniDeps,
  networks: Networks,
  validContainerIds: ReadonlySet<string>,
): Promise<readonly Attachment[]> => {
  const unknown: Attachment[] = []
  for (const attachment of networks.attachments()) {
    if (validContainerIds.has(attachment.containerId)) continue
    const young = deps.clock.now() - attachment.at < youngMs
    if (!young || !(await isThere(attachment.netns))) unknown.push(attachment)
  }
  await detachAll(deps, networks, unknown)
  await sweepLinks(deps, networks)
  return unknown
}
