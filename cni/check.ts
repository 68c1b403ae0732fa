// CHECK and STATUS: does what ADD made still stand, and would an ADD succeed now. Both only look, except that STATUS makes the base
// right, which the next ADD would do anyway. What is wrong is said in full, not only the first of it.
import { isFault } from '../host/fault.ts'
import { missingRoutes, routesOf, type ShownRoute } from './addressing.ts'
import type { ShownLink } from './bridge.ts'
import { type NetworkConf, toRangeSets } from './conf.ts'
import type { CniDeps, Networks } from './networks.ts'
import { portElements, table } from './portmap.ts'
import { CniFault, cniCodes, type Target } from './spec.ts'
import type { Attachment } from './store.ts'

interface ShownQdisc {
  readonly qdisc?: string
}

const orNothing = async <T>(asked: Promise<readonly T[]>): Promise<readonly T[]> => {
  try {
    return await asked
  } catch (error) {
    if (isFault(error, 'not-found')) return []
    throw error
  }
}

const wrongOutside = async (
  { link }: CniDeps,
  bridge: string,
  { hostLink, bandwidth }: Attachment,
): Promise<readonly string[]> => {
  const [outer] = await orNothing(link.query<ShownLink & ShownQdisc>(['addr', 'show', 'dev', hostLink]))
  if (outer === undefined) return [`interface ${hostLink} of the host is gone`]
  return [
    ...(outer.master === bridge ? [] : [`interface ${hostLink} is not on bridge ${bridge}`]),
    ...(outer.flags.includes('UP') ? [] : [`interface ${hostLink} is down`]),
    ...((bandwidth?.ingressRate ?? 0) > 0 && outer.qdisc !== 'tbf' ? [`interface ${hostLink} has lost its bandwidth limit`] : []),
  ]
}

const wrongInside = async ({ link }: CniDeps, conf: NetworkConf, attachment: Attachment): Promise<readonly string[]> => {
  const { netns, ifname, addresses } = attachment
  const links = await orNothing(link.query<ShownLink>(['addr', 'show'], netns))
  const inner = links.find(it => it.ifname === ifname)
  if (inner === undefined) return [`interface ${ifname} of the container is gone`]
  const held = inner.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`)
  const six = addresses.some(({ address }) => address.includes(':'))
  const routes = [
    ...(await link.query<ShownRoute>(['route', 'show'], netns)),
    ...(six ? await link.query<ShownRoute>(['-6', 'route', 'show'], netns) : []),
  ]
  const wanted =
    conf.prevResult?.routes.map(({ dst, gw }) => ({ dst, ...(gw !== undefined && { gw }) })) ?? routesOf(conf.network, addresses)
  return [
    ...(inner.flags.includes('UP') ? [] : [`interface ${ifname} of the container is down`]),
    ...(links.find(it => it.ifname === 'lo')?.flags.includes('UP') ? [] : ['the loopback interface of the container is down']),
    ...addresses
      .filter(({ address }) => !held.includes(address))
      .map(({ address }) => `address ${address} is missing from ${ifname}`),
    ...missingRoutes(wanted, routes).map(route => `route ${route} is missing from the container`),
  ]
}

const wrongPorts = async ({ nft }: CniDeps, attachment: Attachment): Promise<readonly string[]> => {
  const wrong: string[] = []
  for (const { map, key } of portElements(attachment)) {
    try {
      await nft.list(['get', 'element', ...table.split(' '), map, `{ ${key} }`])
    } catch (error) {
      if (!isFault(error, 'kernel-refused')) throw error
      wrong.push(`hostPort ${key} is not in nftables table ${table}`)
    }
  }
  return wrong
}

const wrongResult = (conf: NetworkConf, attachment: Attachment): readonly string[] => {
  const said = conf.prevResult?.ips.map(ip => ip.address)
  if (said === undefined) return ['prevResult is missing from the configuration']
  const ours = attachment.addresses.filter(({ address }) => !said.includes(address))
  return ours.map(({ address }) => `address ${address} is not in prevResult`)
}

/**
 * CHECK: looks whether a container's interface is as ADD left it.
 * @throws CniFault that says all that is not
 */
export const check = async (deps: CniDeps, networks: Networks, conf: NetworkConf, target: Target): Promise<void> => {
  const attachment = networks.find(conf.network.name)?.store.find(target)
  const wrong =
    attachment === undefined
      ? [`container ${target.containerId} has no address in network ${conf.network.name}`]
      : [
          ...wrongResult(conf, attachment),
          ...(await wrongOutside(deps, conf.network.bridge, attachment)),
          ...(await wrongInside(deps, conf, attachment)),
          ...(await wrongPorts(deps, attachment)),
        ]
  if (wrong.length > 0)
    throw new CniFault(cniCodes.drift, 'network', wrong.join('; '), { object: `container ${target.containerId}` })
}

/**
 * STATUS: whether an ADD would succeed now.
 * @throws CniFault with code 50 and the reason when not
 */
export const status = async (networks: Networks, conf: NetworkConf): Promise<void> => {
  const notAvailable = (message: string, cause?: unknown) => new CniFault(cniCodes.notAvailable, 'network', message, { cause })
  const open = await networks.open(conf.network)
  await open.base().catch((error: unknown) => {
    throw notAvailable(`network ${conf.network.name} cannot be set up`, error)
  })
  if (!open.store.hasRoom(toRangeSets(conf.network.ranges)))
    throw notAvailable(`network ${conf.network.name}: no free address is left in its ranges`)
}
