// From one frontend to what the kernel needs for it: virtual servers with their destinations, entries of sets, addresses on the device.
// Pure, no text of programs yet but the keys of set entries.
import type { Protocol } from '../../api/meta.ts'
import { type ServerKey, type VirtualServer, withPort } from '../../host/ipvs.ts'
import type { Frontend, Lane } from '../model.ts'
import type { SetId } from './words.ts'

/** What frontends are turned into by; the same for all of one family until everything is written anew. */
export interface EntryWords {
  readonly scheduler: string
  /** Addresses of this node that serve node ports. */
  readonly nodePortIPs: readonly string[]
  /** Addresses that other devices of this node bear. */
  readonly ownIPs: ReadonlySet<string>
}

export interface SetEntry {
  readonly set: SetId
  /** `10.96.0.1,tcp:80` */
  readonly key: string
  /** `skbmark 0x2001`; '' for none. */
  readonly options: string
}

/** Everything of one frontend. */
export interface Entries {
  readonly servers: readonly VirtualServer[]
  readonly members: readonly SetEntry[]
  /** To be on the device; also in the set `addresses`. */
  readonly addresses: readonly string[]
}

export const noEntries: Entries = { servers: [], members: [], addresses: [] }

const kindSet = (frontend: Frontend): readonly SetId[] => {
  const keeps = frontend.masquerade === 'never'
  switch (frontend.kind) {
    case 'cluster-ip':
      return ['clusterIP']
    case 'external-ip':
      return [keeps ? 'externalLocal' : 'external']
    case 'load-balancer':
      return keeps ? ['balancer', 'balancerLocal'] : ['balancer']
    case 'node-port':
      return [keeps ? 'nodePortLocal' : 'nodePort']
  }
}

const toServer = (key: ServerKey, { affinitySeconds }: Frontend, { to }: Lane, scheduler: string): VirtualServer => ({
  key,
  scheduler,
  persistentSeconds: affinitySeconds,
  // As kube-proxy has it: clients behind one address are spread.
  flags: scheduler === 'mh' ? 'mh-port' : '',
  destinations: new Map(to.map(({ ip, port }) => [withPort(ip, port), 1])),
})

const sameDestinations = (a: Lane, b: Lane): boolean =>
  a.to.length === b.to.length && a.to.every(one => b.to.some(({ ip, port }) => ip === one.ip && port === one.port))

/** Whether this node's own traffic must be led to other endpoints than everybody's. */
export const needsMark = ({ lane, inside }: Frontend): boolean =>
  inside !== undefined && inside.to.length > 0 && !sameDestinations(lane, inside)

const keyOf = (address: string, protocol: Protocol, port: number): string => `${address},${protocol.toLowerCase()}:${port}`

/** The first key that a frontend has in sets of address and port; '' when it has none. */
export const firstKey = ({ ip, protocol, port }: Frontend, { nodePortIPs }: EntryWords): string =>
  keyOf(ip || (nodePortIPs[0] ?? ''), protocol, port)

// A range of one address is an address to ipset.
const rangeKey = (range: string): string =>
  range.replace(/\/(32|128)$/, (bits, length) => (range.includes(':') === (length === '128') ? '' : bits))

/**
 * What a frontend needs.
 * @param mark leads this node's own traffic to its lane; undefined when it goes where everybody's goes
 */
export const toEntries = (frontend: Frontend, words: EntryWords, mark: number | undefined): Entries => {
  const { family, ip, protocol, port, lane, inside, sourceRanges } = frontend
  const ips = ip === '' ? words.nodePortIPs : [ip]
  const member = (set: SetId, key: string, options = ''): SetEntry => ({ set, key, options })
  const marked = mark !== undefined && inside !== undefined
  const perAddress = ips.flatMap(address => {
    const key = keyOf(address, protocol, port)
    return [
      ...kindSet(frontend).map(set => member(set, key)),
      ...(lane.to.length === 0 ? [member(lane.otherwise === 'drop' ? 'dropped' : 'rejected', key)] : []),
      ...(sourceRanges === undefined ? [] : [member('guarded', key)]),
      ...(sourceRanges ?? []).map(range => member('sources', `${key},${rangeKey(range)}`)),
      ...(marked ? [member('inside', key, `skbmark 0x${mark.toString(16)}`)] : []),
    ]
  })
  const local = [...lane.to, ...(inside?.to ?? [])].filter(destination => destination.local)
  const addresses = ip === '' || words.ownIPs.has(ip) ? [] : [ip]
  const members = [
    ...perAddress,
    ...local.map(one => member('loopBack', `${keyOf(one.ip, protocol, one.port)},${one.ip}`)),
    ...addresses.map(address => member('addresses', address)),
  ]
  return {
    servers: [
      ...ips.map(address => toServer({ family, ip: address, protocol, port }, frontend, lane, words.scheduler)),
      ...(marked ? [toServer({ family, mark }, frontend, inside, words.scheduler)] : []),
    ],
    members: [...new Map(members.map(entry => [`${entry.set} ${entry.key}`, entry])).values()],
    addresses,
  }
}
