// Addresses of this machine: those of its interfaces, and the ones that its default routes leave by. Starts no process.
// Right in a network namespace, too: interfaces come from the kernel by getifaddrs, routes from /proc/net.
// Follows proc_net(5); the choice is the kubelet's without --node-ip: the address beside the default route.
import { readFile } from 'node:fs/promises'
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os'

export interface DefaultRoute {
  readonly interface: string
  readonly metric: number
}

/** Interfaces of IPv4 default routes in /proc/net/route, the preferred one first. */
export const defaultRoutes4 = (table: string): readonly DefaultRoute[] =>
  table
    .split('\n')
    .slice(1)
    .map(line => line.trim().split(/\s+/))
    // flags: 1 is up, 0x200 is a route that rejects
    .filter(([, destination, , flags = '0', , , , mask]) => {
      const bits = Number.parseInt(flags, 16)
      return destination === '00000000' && mask === '00000000' && (bits & 0x1) !== 0 && (bits & 0x200) === 0
    })
    .map(fields => ({ interface: fields[0] ?? '', metric: Number(fields[6]) }))
    .sort((a, b) => a.metric - b.metric)

/** As above, of /proc/net/ipv6_route. */
export const defaultRoutes6 = (table: string): readonly DefaultRoute[] =>
  table
    .split('\n')
    .map(line => line.trim().split(/\s+/))
    .filter(([destination, length, , , , , , , flags = '0', device]) => {
      const bits = Number.parseInt(flags, 16)
      return destination === '0'.repeat(32) && length === '00' && device !== 'lo' && (bits & 0x1) !== 0 && (bits & 0x200) === 0
    })
    .map(fields => ({ interface: fields[9] ?? '', metric: Number.parseInt(fields[5] ?? '0', 16) }))
    .sort((a, b) => a.metric - b.metric)

const isGlobal = ({ address, internal, scopeid }: NetworkInterfaceInfo): boolean =>
  !internal && !address.startsWith('169.254.') && (scopeid === undefined || scopeid === 0)

/** All addresses that are not loopback or link-local. */
export const globalAddresses = (): readonly string[] =>
  Object.values(networkInterfaces())
    .flatMap(list => list ?? [])
    .filter(isGlobal)
    .map(({ address }) => address)

/** A network that an interface is on: who has an address in it is reached without a router. */
export interface ConnectedNetwork {
  readonly interface: string
  /** Of this machine in it. */
  readonly address: string
  /** `192.0.2.1/24`. */
  readonly cidr: string
}

/** All networks of all interfaces but loopback and link-local ones. */
export const connectedNetworks = (): readonly ConnectedNetwork[] =>
  Object.entries(networkInterfaces()).flatMap(([name, list]) =>
    (list ?? []).filter(isGlobal).flatMap(({ address, cidr }) => (cidr === null ? [] : [{ interface: name, address, cidr }])),
  )

/**
 * The machine's own address of each family: that of the default route's interface, else the first global one.
 * IPv4 first; empty when there is none.
 */
export const nodeAddresses = async (): Promise<readonly string[]> => {
  // Of the thread that reads: /proc/net is the first thread's, which may be in a pod's namespace just then.
  const [table4, table6] = await Promise.all(
    ['/proc/thread-self/net/route', '/proc/thread-self/net/ipv6_route'].map(file => readFile(file, 'utf8').catch(() => '')),
  )
  const interfaces = networkInterfaces()
  const pick = (family: string, routes: readonly DefaultRoute[]): string | undefined => {
    const names = [...routes.map(route => route.interface), ...Object.keys(interfaces)]
    return names.flatMap(name => interfaces[name] ?? []).find(info => info.family === family && isGlobal(info))?.address
  }
  return [pick('IPv4', defaultRoutes4(table4 ?? '')), pick('IPv6', defaultRoutes6(table6 ?? ''))].filter(it => it !== undefined)
}
