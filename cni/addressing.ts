// The pod's side: loopback up, the interface addressed and up, routes through the gateway; and what CHECK finds missing of it.
// Compiles commands of ip(8) for inside the pod's namespace. Pure. Order matters: a route needs its interface up.

import { parseCidr } from '../host/address.ts'
import type { Base } from './bridge.ts'
import type { Network } from './conf.ts'
import { macOf } from './names.ts'
import type { CniResult, ResultRoute } from './spec.ts'
import type { Attachment, PodAddress } from './store.ts'

const defaultOf = (address: string): string => (address.includes(':') ? '::/0' : '0.0.0.0/0')

/** Default routes through the gateways, and the routes that the configuration adds. */
export const routesOf = (network: Network, addresses: readonly PodAddress[]): readonly Required<ResultRoute>[] => {
  const gatewayFor = (dst: string): string | undefined =>
    addresses.find(({ address }) => address.includes(':') === dst.includes(':'))?.gateway
  const defaults = addresses.map(({ address, gateway }) => ({ dst: defaultOf(address), gw: gateway }))
  const added = network.routes.flatMap(({ dst, gw }) => {
    const via = gw ?? gatewayFor(dst)
    return via === undefined || defaults.some(route => route.dst === dst) ? [] : [{ dst, gw: via }]
  })
  return [...defaults, ...added]
}

/** The commands that configure the inner end of a pod's pair. */
export const podCommands = (network: Network, { ifname, addresses }: Attachment): readonly string[] => [
  'link set dev lo up',
  ...addresses.map(({ address }) => `addr add ${address} dev ${ifname}${address.includes(':') ? ' nodad' : ''}`),
  `link set dev ${ifname} up`,
  ...routesOf(network, addresses).map(({ dst, gw }) => `route add ${dst} via ${gw} dev ${ifname}`),
]

/**
 * Files under /proc/sys of the pod that must read 0 before an IPv6 address is added: some hosts make namespaces with IPv6 off,
 * and a router advertisement of another pod must not redirect this one (CVE-2020-10749).
 */
export const podZeroSysctls = ({ ifname, addresses }: Attachment): readonly string[] =>
  addresses.some(({ address }) => address.includes(':'))
    ? ['disable_ipv6', 'accept_dad', 'accept_ra'].map(name => `/proc/sys/net/ipv6/conf/${ifname}/${name}`)
    : []

/** The result of ADD. */
export const resultOf = (network: Network, attachment: Attachment, { mtu, bridgeMac }: Base): CniResult => ({
  interfaces: [
    { name: network.bridge, mac: bridgeMac, mtu },
    { name: attachment.hostLink, mac: macOf('host', attachment.hostLink), mtu },
    { name: attachment.ifname, mac: attachment.mac, mtu, sandbox: attachment.netns },
  ],
  ips: attachment.addresses.map(({ address, gateway }) => ({ address, gateway, interface: 2 })),
  routes: routesOf(network, attachment.addresses),
})

export interface ShownRoute {
  readonly dst: string
  readonly gateway?: string
  readonly dev?: string
}

/** The routes of `wanted` that a pod's tables lack, as a person would read them. */
export const missingRoutes = (wanted: readonly ResultRoute[], shown: readonly ShownRoute[]): readonly string[] => {
  const has = ({ dst, gw }: ResultRoute) =>
    shown.some(
      route =>
        canonical(route.dst, dst.includes(':')) === canonical(dst, dst.includes(':')) &&
        (gw === undefined || route.gateway === gw),
    )
  return wanted.filter(route => !has(route)).map(({ dst, gw }) => `${dst}${gw === undefined ? '' : ` via ${gw}`}`)
}

// ip(8) prints `default`, and a host route without its length.
const canonical = (dst: string, six: boolean): string => {
  if (dst === 'default') return six ? '::/0' : '0.0.0.0/0'
  const parsed = parseCidr(dst.includes('/') ? dst : `${dst}/${six ? 128 : 32}`)
  return parsed === undefined ? dst : parsed.text
}
