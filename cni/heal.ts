// What somebody took away under standing pods: the bridge, a pod's pair, its shaper. The allocation on disk says all that is needed to
// make them again, with the same addresses and hardware addresses, so that the pod's connections go on.
import { describe } from '../host/fault.ts'
import { reattach } from './attach.ts'
import type { ShownLink } from './bridge.ts'
import type { AttachmentKey } from './conf.ts'
import { shaperOf } from './names.ts'
import type { CniDeps, Networks } from './networks.ts'
import type { Attachment } from './store.ts'

/** Runs work about one container after what is under way for it. */
export type InTurn = <T>(key: AttachmentKey, work: () => Promise<T>) => Promise<T>

/** The interfaces of this host that an attachment consists of. */
export const linksOf = ({ hostLink, bandwidth }: Attachment): readonly string[] => [
  hostLink,
  ...((bandwidth?.egressRate ?? 0) > 0 ? [shaperOf(hostLink)] : []),
]

const standing = ({ leaving }: Networks, attachments: readonly Attachment[]) => attachments.filter(it => !leaving.has(it))

/** Whether pods need this interface now. */
export const isNeeded = (networks: Networks, name: string): boolean =>
  networks.all().some(({ network, store }) => {
    const attachments = standing(networks, store.all())
    return attachments.some(it => linksOf(it).includes(name)) || (name === network.bridge && attachments.length > 0)
  })

/**
 * Makes again what is missing of the interfaces of standing pods.
 * @returns the names of what was missing
 * @throws Fault when the bridge cannot be made; one pod's failure is logged and keeps no other from being healed
 */
export const heal = async (deps: CniDeps, networks: Networks, inTurn: InTurn): Promise<readonly string[]> => {
  const present = new Set((await deps.link.query<ShownLink>(['addr', 'show'])).map(({ ifname }) => ifname))
  const missing: string[] = []
  for (const open of networks.all()) {
    const attachments = standing(networks, open.store.all())
    if (attachments.length === 0) continue
    if (!present.has(open.network.bridge)) {
      missing.push(open.network.bridge)
      open.forgetBase()
      await open.base()
    }
    for (const attachment of attachments) {
      const gone = linksOf(attachment).filter(name => !present.has(name))
      if (gone.length === 0) continue
      missing.push(...gone)
      await inTurn(attachment, () => reattach(deps, networks, open, attachment)).catch(error =>
        deps.log.warn(
          { err: error, pod: attachment.pod, interfaces: gone },
          `the interface of a pod could not be made again: ${describe(error)}`,
        ),
      )
    }
  }
  return missing
}
