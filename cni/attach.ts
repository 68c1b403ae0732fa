// ADD and DEL of one interface: the only files' steps in order, each ADD step with its undo, DEL content with what is already gone.
// Two processes make a pod's interface: one ip(8) on the host, which places the inner end in the pod at once, and one inside.
// nftables is touched for hostPorts only, beside the interface, since neither needs the other.
import { access } from 'node:fs/promises'
import { createConntrack, type Flow } from '../host/conntrack.ts'
import { except, Fault, isFault } from '../host/fault.ts'
import { podCommands, podZeroSysctls, resultOf } from './addressing.ts'
import { bandwidthCommands, isShaped, shaperCommands } from './bandwidth.ts'
import { type Base, gatewaysOf, pairCommands, type ShownLink } from './bridge.ts'
import { type AttachmentKey, type NetworkConf, toRangeSets } from './conf.ts'
import { hostLinkOf, macOf, shaperOf } from './names.ts'
import type { CniDeps, Networks, OpenNetwork } from './networks.ts'
import { addElements, conflictOf, flowPorts, portElements, removeElements, staleFlows } from './portmap.ts'
import { CniFault, type CniResult, cniCodes, type Target } from './spec.ts'
import type { Attachment } from './store.ts'

/** Waits for all, then throws the first failure: an undo must not run beside a step that still works. */
const allDone = async (steps: readonly Promise<unknown>[]): Promise<void> => {
  for (const step of await Promise.allSettled(steps)) if (step.status === 'rejected') throw step.reason
}

const localAddresses = async ({ link }: CniDeps): Promise<ReadonlySet<string>> =>
  new Set((await link.query<ShownLink>(['addr', 'show'])).flatMap(it => it.addr_info.map(({ local }) => local)))

const forgetFlows = async (deps: CniDeps, attachment: Attachment, gone: boolean): Promise<void> => {
  const ports = flowPorts(attachment)
  if (ports.length === 0) return
  try {
    const conntrack = createConntrack(deps.exec)
    const isOnAll = ports.some(({ hostIP }) => hostIP === undefined)
    const local = gone || !isOnAll ? new Set<string>() : await localAddresses(deps)
    const stale: Flow[] = []
    for (const port of ports)
      stale.push(
        ...staleFlows(await conntrack.list(port.family, port.protocol, { toPort: port.hostPort }), port, { gone, local }),
      )
    await conntrack.remove(stale)
  } catch (error) {
    deps.log.warn({ err: error, hostLink: attachment.hostLink }, 'stale flows of hostPorts could not be removed')
  }
}

const removeLinks = async (deps: CniDeps, hostLink: string, withShaper: boolean): Promise<void> => {
  const commands = [`link del dev ${hostLink}`, ...(withShaper ? [`link del dev ${shaperOf(hostLink)}`] : [])]
  try {
    await deps.link.batch(commands, { keepGoing: true })
  } catch (error) {
    if (!isFault(error, 'not-found')) throw error
  }
}

const removePorts = async (deps: CniDeps, networks: Networks, attachment: Attachment): Promise<void> => {
  if (attachment.ports.length === 0) return
  await networks.table.change(removeElements(portElements(attachment)))
  await forgetFlows(deps, attachment, true)
}

const makePair = async (deps: CniDeps, networks: Networks, open: OpenNetwork, attachment: Attachment): Promise<Base> => {
  const commandsFor = ({ mtu }: Base) => [...pairCommands(open.network, attachment, mtu), ...shaperCommands(attachment, mtu)]
  try {
    const base = await open.base()
    await networks.pairs.add(commandsFor(base))
    return base
  } catch (error) {
    // The name is ours alone: what bears it was left by a call that was killed.
    // Or somebody took the bridge away under us, or the interface of the container that had this namespace before is on its way out.
    if (!isFault(error, 'already-exists', 'not-found')) throw error
    await networks.retirement.settled()
    await removeLinks(deps, attachment.hostLink, isShaped(attachment.bandwidth))
    open.forgetBase()
    const base = await open.base()
    await deps.link.batch(commandsFor(base))
    return base
  }
}

const configurePod = async (deps: CniDeps, open: OpenNetwork, attachment: Attachment): Promise<void> => {
  const { netns } = attachment
  const zeros = podZeroSysctls(attachment)
  if (zeros.length > 0) await deps.link.setInside(netns, zeros, '0')
  await deps.link.batch(podCommands(open.network, attachment), { netns })
}

/** Whether an attachment that is on disk also stands in the kernel: then ADD is a mistake, else what a killed call left. */
const stands = async (deps: CniDeps, attachment: Attachment): Promise<boolean> => {
  try {
    await deps.link.query<ShownLink>(['addr', 'show', 'dev', attachment.hostLink])
    const [inner] = await deps.link.query<ShownLink>(['addr', 'show', 'dev', attachment.ifname], attachment.netns)
    const held = (inner?.addr_info ?? []).map(({ local, prefixlen }) => `${local}/${prefixlen}`)
    return inner?.flags.includes('UP') === true && attachment.addresses.every(({ address }) => held.includes(address))
  } catch (error) {
    if (isFault(error, 'not-found')) return false
    throw error
  }
}

const refuseConflict = (networks: Networks, open: OpenNetwork, conf: NetworkConf) => {
  const conflict = conflictOf(conf.ports, gatewaysOf(open.network), networks.attachments())
  if (conflict === undefined) return
  const owner = conflict.owner.pod ?? `container ${conflict.owner.containerId}`
  throw new CniFault(cniCodes.hostPortTaken, 'already-exists', `hostPort ${conflict.mapping} is taken by ${owner}`, {
    object: owner,
  })
}

/**
 * ADD: gives a container its interface.
 * @throws Fault; everything that was made is undone then
 */
export const attach = async (deps: CniDeps, networks: Networks, conf: NetworkConf, target: Target): Promise<CniResult> => {
  const { containerId, ifname, netns, pod } = target
  await access(netns).catch(cause => {
    throw new CniFault(cniCodes.unknownContainer, 'not-found', `network namespace ${netns} is not there`, { cause })
  })
  const open = await networks.open(conf.network)
  const before = open.store.find(target)
  if (before !== undefined && !(await stands(deps, before))) await detach(deps, networks, open.network.name, target)
  refuseConflict(networks, open, conf)
  const attachment = await open.store.reserve(
    {
      ...{ containerId, ifname, netns, ports: conf.ports, hostLink: hostLinkOf(target), mac: macOf(containerId, ifname) },
      ...(pod !== undefined && { pod }),
      ...(isShaped(conf.bandwidth) && { bandwidth: conf.bandwidth }),
    },
    toRangeSets(open.network.ranges),
  )
  const undo: (() => Promise<void>)[] = [() => open.store.release(attachment)]
  const makeInterface = async (): Promise<Base> => {
    undo.push(() => removeLinks(deps, attachment.hostLink, isShaped(attachment.bandwidth)))
    const base = await makePair(deps, networks, open, attachment)
    await configurePod(deps, open, attachment)
    if (isShaped(attachment.bandwidth)) await deps.link.shape(bandwidthCommands(attachment))
    return base
  }
  const openPorts = async () => {
    if (attachment.ports.length === 0) return
    undo.push(() => removePorts(deps, networks, attachment))
    await networks.table.change(addElements(portElements(attachment)))
    await forgetFlows(deps, attachment, false)
  }
  const made = makeInterface()
  try {
    await allDone([made, openPorts()])
    if (attachment.ports.length > 0) await networks.allowLocalhostPorts(open.network)
    return resultOf(open.network, attachment, await made)
  } catch (error) {
    await undoAll(deps, networks, attachment, undo)
    throw error
  }
}

/**
 * Makes the interface of a standing attachment again after somebody removed it. Does nothing when the attachment has gone meanwhile,
 * stands after all (an ADD was under way), or has lost its namespace.
 * @throws Fault when the kernel refuses
 */
export const reattach = async (deps: CniDeps, networks: Networks, open: OpenNetwork, attachment: Attachment): Promise<void> => {
  if (open.store.find(attachment) !== attachment || networks.leaving.has(attachment)) return
  if ((await isGone(attachment.netns)) || ((await stands(deps, attachment)) && (await hasShaper(deps, attachment)))) return
  await removeLinks(deps, attachment.hostLink, isShaped(attachment.bandwidth))
  await makePair(deps, networks, open, attachment)
  await configurePod(deps, open, attachment)
  if (isShaped(attachment.bandwidth)) await deps.link.shape(bandwidthCommands(attachment))
}

const isGone = (path: string): Promise<boolean> =>
  access(path).then(
    () => false,
    () => true,
  )

const hasShaper = async (deps: CniDeps, { hostLink, bandwidth }: Attachment): Promise<boolean> => {
  if ((bandwidth?.egressRate ?? 0) === 0) return true
  return (await except(deps.link.query(['addr', 'show', 'dev', shaperOf(hostLink)]), 'not-found')) !== undefined
}

const undoAll = async (deps: CniDeps, networks: Networks, attachment: Attachment, undo: readonly (() => Promise<void>)[]) => {
  networks.leaving.add(attachment)
  // What cannot be undone now stays on disk for the runtime's DEL, or GC.
  for (const step of undo.toReversed())
    await step().catch((error: unknown) =>
      deps.log.warn({ err: error, container: attachment.containerId }, 'a step of ADD was not undone'),
    )
  networks.leaving.delete(attachment)
}

/**
 * DEL: takes a container's interface away, then frees its addresses, in this order: nobody gets an address whose old owner still
 * stands. Succeeds on what is already gone, the namespace too.
 * @throws Fault when the kernel keeps something; the addresses stay taken then and DEL can be called again
 */
export const detach = async (deps: CniDeps, networks: Networks, network: string, key: AttachmentKey): Promise<void> => {
  const store = networks.find(network)?.store
  const attachment = store?.find(key)
  if (attachment === undefined || store === undefined) {
    // The usual case: runtimes ask again for what is gone long since.
    if (await deps.link.exists(hostLinkOf(key))) await networks.retirement.retire(hostLinkOf(key), [])
    return
  }
  networks.leaving.add(attachment)
  try {
    await allDone([
      networks.retirement.retire(attachment.hostLink, isShaped(attachment.bandwidth) ? [shaperOf(attachment.hostLink)] : []),
      removePorts(deps, networks, attachment),
    ])
    await store.release(attachment)
  } catch (error) {
    throw error instanceof Fault
      ? error
      : new Fault('network', `container ${key.containerId} could not be detached`, { cause: error })
  } finally {
    networks.leaving.delete(attachment)
  }
}
