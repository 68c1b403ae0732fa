// The host's side: the bridge with the gateway addresses, forwarding, and a pod's port on the bridge.
// Compiles commands of ip(8) and makes the bridge right; a bridge that is right already is not touched.
// Addresses are added without duplicate address detection: nobody else is on this link, and waiting for it costs a second.
import { readFile, writeFile } from 'node:fs/promises'
import { formatAddress } from '../host/address.ts'
import { Fault, isFault } from '../host/fault.ts'
import type { Link } from '../host/link.ts'
import { type Network, toRangeSets } from './conf.ts'
import { linkLocalOf, macOf } from './names.ts'
import type { Attachment } from './store.ts'

/** What `ip -j addr show` says of an interface. */
export interface ShownLink {
  readonly ifname: string
  readonly address?: string
  readonly mtu: number
  readonly flags: readonly string[]
  readonly master?: string
  readonly addr_info: readonly {
    readonly family: string
    readonly local: string
    readonly prefixlen: number
    readonly scope: string
  }[]
}

export interface SysctlDeps {
  readonly read: (path: string) => Promise<string>
  readonly write: (path: string, value: string) => Promise<void>
}

/** /proc/sys of the network namespace that this process lives in. */
export const systemSysctl: SysctlDeps = {
  read: async path => (await readFile(`/proc/sys/${path}`, 'utf8')).trim(),
  write: (path, value) => writeFile(`/proc/sys/${path}`, value),
}

/** The addresses that the bridge of a network bears: the gateway of every range. */
export const gatewaysOf = (network: Network): readonly string[] =>
  toRangeSets(network.ranges).flatMap(set =>
    set.map(({ subnet, gateway }) => `${formatAddress({ family: subnet.family, value: gateway })}/${subnet.length}`),
  )

const isSix = (address: string): boolean => address.includes(':')

const addAddress = (address: string, device: string): string =>
  `addr add ${address} dev ${device}${isSix(address) ? ' nodad' : ''}`

/** Its own link-local address would be checked for a second, in which the kernel cannot ask for the pods' hardware addresses. */
const createCommands = (network: Network): readonly string[] => {
  const { bridge } = network
  const mac = bridgeMacOf(network)
  return [
    `link add ${bridge} address ${mac} type bridge`,
    ...(gatewaysOf(network).some(isSix)
      ? [`link set dev ${bridge} addrgenmode none`, `addr add ${linkLocalOf(mac)}/64 dev ${bridge} scope link nodad`]
      : []),
  ]
}

/**
 * The commands that bring the bridge from what is shown to what the network asks; empty when it is right.
 * @param inUse the gateway addresses that pods have routes through, as `address/length`
 * @throws Fault `network` when it bears a gateway address of another configuration while pods still use it
 */
export const bridgeCommands = (
  network: Network,
  mtu: number,
  shown: ShownLink | undefined,
  inUse: ReadonlySet<string>,
): readonly string[] => {
  const { bridge, promiscMode } = network
  const wanted = gatewaysOf(network)
  const had = (shown?.addr_info ?? []).filter(info => info.scope === 'global').map(info => `${info.local}/${info.prefixlen}`)
  const foreign = had.filter(address => !wanted.includes(address))
  const needed = foreign.filter(address => inUse.has(address))
  if (needed.length > 0)
    throw new Fault(
      'network',
      `bridge ${bridge} bears ${needed.join(', ')} of another range, which pods still use; end them first`,
      {
        object: `bridge ${bridge}`,
      },
    )
  return [
    ...(shown === undefined ? createCommands(network) : []),
    ...foreign.map(address => `addr del ${address} dev ${bridge}`),
    ...wanted.filter(address => !had.includes(address)).map(address => addAddress(address, bridge)),
    ...(shown?.mtu === mtu ? [] : [`link set dev ${bridge} mtu ${mtu}`]),
    ...(promiscMode && shown?.flags.includes('PROMISC') !== true ? [`link set dev ${bridge} promisc on`] : []),
    ...(shown?.flags.includes('UP') ? [] : [`link set dev ${bridge} up`]),
  ]
}

/** The kernel settings of a node that forwards for its pods, by path under /proc/sys. */
export const bridgeSysctls = (network: Network, withLocalhostPorts: boolean): readonly (readonly [string, string])[] => {
  const six = gatewaysOf(network).some(isSix)
  const four = gatewaysOf(network).some(address => !isSix(address))
  return [
    ...(four ? [['net/ipv4/ip_forward', '1'] as const] : []),
    // Lets what a local program sends to 127.0.0.1:hostPort leave through the bridge; masq.ts shuts the way in.
    ...(four && withLocalhostPorts ? [[`net/ipv4/conf/${network.bridge}/route_localnet`, '1'] as const] : []),
    ...(six ? [['net/ipv6/conf/all/forwarding', '1'] as const, [`net/ipv6/conf/${network.bridge}/accept_ra`, '0'] as const] : []),
  ]
}

/** Sets what is not set yet. @throws Fault `network` that names the setting */
export const applySysctls = async (sysctl: SysctlDeps, settings: readonly (readonly [string, string])[]): Promise<void> => {
  for (const [path, value] of settings) {
    try {
      if ((await sysctl.read(path)) !== value) await sysctl.write(path, value)
    } catch (cause) {
      throw new Fault('network', `${path.replaceAll('/', '.')} could not be set to ${value}`, { cause })
    }
  }
}

/** The MTU of the interface with the default route, which pods should not exceed; 1500 without one. */
const uplinkMtu = async (link: Link, shown: readonly ShownLink[]): Promise<number> => {
  const routes = await link.query<{ readonly dev?: string }>(['route', 'show', 'default'])
  return shown.find(it => it.ifname === routes[0]?.dev)?.mtu ?? 1500
}

export interface BridgeUse {
  /** The gateway addresses that pods have routes through, as `address/length`. */
  readonly inUse: ReadonlySet<string>
  /** The host's ends of the pods that stand: they are put back on the bridge after somebody took it away. */
  readonly hostLinks: ReadonlySet<string>
  readonly withLocalhostPorts: boolean
}

export interface Base {
  /** What pods of this network get. */
  readonly mtu: number
  readonly bridgeMac: string
}

/**
 * Makes the bridge of a network what it should be.
 * @throws Fault `network` when the kernel refuses, or when pods still use addresses of another configuration
 */
export const ensureBridge = async (
  deps: { readonly link: Link; readonly sysctl: SysctlDeps },
  network: Network,
  state: BridgeUse,
): Promise<Base> => {
  const { link, sysctl } = deps
  const shown = await link.query<ShownLink>(['addr', 'show'])
  const mtu = network.mtu > 0 ? network.mtu : await uplinkMtu(link, shown)
  const bridge = shown.find(it => it.ifname === network.bridge)
  await link.batch(bridgeCommands(network, mtu, bridge, state.inUse))
  await link.batch(portCommands(network, shown, state.hostLinks), { keepGoing: true }).catch((error: unknown) => {
    // A pod that ended since we looked.
    if (!isFault(error, 'not-found')) throw error
  })
  await applySysctls(sysctl, bridgeSysctls(network, state.withLocalhostPorts))
  return { mtu, bridgeMac: bridge?.address ?? bridgeMacOf(network) }
}

// Without an address of its own a bridge takes the lowest of its ports and so changes it as pods come and go.
const bridgeMacOf = (network: Network): string => macOf('bridge', network.bridge, ...gatewaysOf(network))

const joinCommands = (network: Network, hostLink: string): readonly string[] => [
  `link set dev ${hostLink} master ${network.bridge} up`,
  ...(network.hairpinMode ? [`link set dev ${hostLink} type bridge_slave hairpin on`] : []),
]

/** The commands that bring pods back onto a bridge that they should be on. */
export const portCommands = (network: Network, shown: readonly ShownLink[], hostLinks: ReadonlySet<string>): readonly string[] =>
  shown.filter(it => hostLinks.has(it.ifname) && it.master !== network.bridge).flatMap(it => joinCommands(network, it.ifname))

/** The commands that make a pod's pair, its inner end placed in the pod at once, and put the outer end on the bridge. */
export const pairCommands = (network: Network, attachment: Attachment, mtu: number): readonly string[] => {
  const { hostLink, ifname, netns, mac } = attachment
  return [
    `link add ${hostLink} mtu ${mtu} address ${macOf('host', hostLink)} type veth peer name ${ifname} mtu ${mtu} address ${mac} netns ${netns}`,
    ...joinCommands(network, hostLink),
  ]
}
