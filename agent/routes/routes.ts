// Which routes lead to the pods of the other nodes: the range of each node by its address, where no router is between. Pure.
// Nodes and networks come in, commands of ip(8) go out; node-routes.ts carries them out. Knows no tunnels.
// Follows k8s.io: Cluster Networking (every pod reaches every other without NAT); host gateways as in flannel's backend of that name.
import { contains, parseAddress, parseCidr } from '../../host/address.ts'
import type { ConnectedNetwork } from '../../host/addresses.ts'
import type { NodeObject } from '../node.ts'
import { podCIDRsOf } from '../report/node-object.ts'

/**
 * Our mark on routes, so that they are told from the administrator's. A number that no routing daemon has in the kernel's
 * rtnetlink.h or iproute2's rt_protos (99 is Open/R's).
 */
export const routeProtocol = 78

export interface PodRoute {
  /** A range of pod addresses in canonical form. */
  readonly cidr: string
  /** The address of the node that has it. */
  readonly via: string
  readonly dev: string
}

/** A node that cannot be routed to directly. */
export interface FarNode {
  readonly name: string
  readonly cidr: string
  /** Its addresses of that family; empty when it has none. */
  readonly addresses: readonly string[]
}

export interface PodRoutes {
  readonly routes: readonly PodRoute[]
  readonly far: readonly FarNode[]
}

const addressesOf = ({ status }: NodeObject): readonly string[] =>
  (status?.addresses ?? []).filter(it => it.type === 'InternalIP').map(it => it.address)

/** All of a Node that routes depend on; equal texts, equal routes. */
export const routeKeyOf = (node: NodeObject | undefined): string =>
  node === undefined ? '' : JSON.stringify([podCIDRsOf(node), addressesOf(node)])

/** The Node without all that routes do not depend on: a cluster of a thousand is held in one megabyte instead of twenty. */
export const trimToRoutes = ({ apiVersion, kind, metadata, spec, status }: NodeObject): NodeObject => {
  const { name, uid, resourceVersion } = metadata
  const { podCIDR, podCIDRs } = spec ?? {}
  return {
    ...(apiVersion !== undefined && { apiVersion }),
    ...(kind !== undefined && { kind }),
    metadata: { name, ...(uid !== undefined && { uid }), ...(resourceVersion !== undefined && { resourceVersion }) },
    spec: { ...(podCIDR !== undefined && { podCIDR }), ...(podCIDRs && { podCIDRs }) },
    status: { addresses: status?.addresses ?? [] } as unknown as NodeObject['status'],
  }
}

/** The routes to the pods of all nodes but our own. @param networks those that our interfaces are on */
export const podRoutes = (nodes: readonly NodeObject[], ownName: string, networks: readonly ConnectedNetwork[]): PodRoutes => {
  const routes: PodRoute[] = []
  const far: FarNode[] = []
  const near = networks.flatMap(it => {
    const cidr = parseCidr(it.cidr)
    return cidr === undefined ? [] : [{ ...it, cidr }]
  })
  for (const node of nodes) {
    const { name } = node.metadata
    if (name === ownName) continue
    for (const text of podCIDRsOf(node)) {
      const range = parseCidr(text)
      if (range === undefined) continue
      const addresses = addressesOf(node).filter(it => parseAddress(it)?.family === range.family)
      const hops = addresses.flatMap(via => {
        const address = parseAddress(via)
        const network = address && near.find(it => contains(it.cidr, address))
        return network === undefined ? [] : [{ cidr: range.text, via, dev: network.interface, isOwn: network.address === via }]
      })
      // An address of ours on another Node is a mistake that a route would make worse.
      const hop = hops.find(it => !it.isOwn)
      if (hop !== undefined) routes.push({ cidr: hop.cidr, via: hop.via, dev: hop.dev })
      else far.push({ name, cidr: range.text, addresses })
    }
  }
  return { routes, far }
}

/** The commands that lead from the routes that are there to those that should be, each a list of its own. */
export const routeChanges = (there: readonly PodRoute[], wanted: readonly PodRoute[]): readonly string[] => {
  const wantedBy = new Map(wanted.map(route => [route.cidr, route]))
  const thereBy = new Map(there.map(route => [route.cidr, route]))
  const text = ({ cidr, via, dev }: PodRoute) => `${cidr} via ${via} dev ${dev} proto ${routeProtocol}`
  return [
    ...there.filter(({ cidr }) => !wantedBy.has(cidr)).map(route => `route del ${text(route)}`),
    ...[...wantedBy.values()].flatMap(route => {
      const old = thereBy.get(route.cidr)
      // An administrator's route to the same range is no error of ours to correct: it makes `add` fail, and is left alone.
      if (old === undefined) return [`route add ${text(route)}`]
      return old.via === route.via && old.dev === route.dev ? [] : [`route replace ${text(route)}`]
    }),
  ]
}
