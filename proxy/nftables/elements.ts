// What a frontend is in the kernel's maps and sets. Pure: from what was placed before and what is wanted now to the new placement,
// and from a placement to its elements. Everything but `hairpin` and `cluster-ips` belongs to one frontend alone.
import type { Destination, Frontend, Lane } from '../model.ts'
import {
  type Entry,
  endpointMap,
  entryName,
  guardName,
  type Keyed,
  type LaneName,
  laneStart,
  rememberName,
  slotStart,
  slotsFor,
} from './chains.ts'

/** A frontend with the numbers that its endpoints hold in the kernel. */
export interface Placed {
  readonly frontend: Frontend
  /** `address . port` by number. */
  readonly main: readonly string[]
  readonly inside: readonly string[]
  /** Numbers that clients remember; both lanes share them. */
  readonly slots: readonly (string | undefined)[]
}

export interface Element {
  readonly set: string
  readonly key: string
  /** Undefined for a member of a set. */
  readonly value: string | undefined
}

export const target = ({ ip, port }: Destination): string => `${ip} . ${port}`
const targets = (lane: Lane | undefined): readonly string[] => lane?.to.map(target) ?? []

export interface Arrange {
  arrange(before: readonly string[], wanted: readonly string[]): readonly string[]
  keepSlots(before: readonly (string | undefined)[], wanted: readonly string[]): readonly (string | undefined)[]
}

/**
 * Places a frontend; endpoints that stay keep their numbers as far as possible.
 * @param carried numbers that clients of a frontend without a `before` are remembered by
 */
export const place = (
  { arrange, keepSlots }: Arrange,
  before: Placed | undefined,
  frontend: Frontend,
  carried: Placed['slots'] = [],
): Placed => {
  const main = targets(frontend.lane)
  const inside = targets(frontend.inside)
  return {
    frontend,
    main: arrange(before?.main ?? [], main),
    inside: arrange(before?.inside ?? [], inside),
    slots: frontend.affinitySeconds === 0 ? [] : keepSlots(before?.slots ?? carried, [...new Set([...main, ...inside])]),
  }
}

const names = {
  address: {
    service: 'service-ips',
    inside: 'inside-ips',
    refused: 'no-endpoint-ips',
    affinity: 'affinity-ips',
    guarded: 'guarded-ips',
  },
  'node-port': {
    service: 'service-node-ports',
    inside: 'inside-node-ports',
    refused: 'no-endpoint-node-ports',
    affinity: 'affinity-node-ports',
    guarded: 'guarded-node-ports',
  },
} as const satisfies Record<Keyed, object>

export const keyedBy = (frontend: Frontend): Keyed => (frontend.kind === 'node-port' ? 'node-port' : 'address')

/** Verdicts are chains; these are the ones that this placement leads to. */
export const entriesOf = ({ frontend, main, inside, slots }: Placed): { main: Entry | undefined; inside: Entry | undefined } => {
  const keyed = keyedBy(frontend)
  const remembered = slotsFor(slots.length)
  const way = frontend.inside !== undefined ? 'split' : frontend.masquerade === 'always' ? 'masquerade' : 'plain'
  const entry = (lane: LaneName, list: readonly string[], how: Entry['way']): Entry => ({
    keyed,
    protocol: frontend.protocol,
    lane,
    count: list.length,
    slots: list.length === 0 ? 0 : remembered,
    way: how,
  })
  return {
    main: main.length > 0 || way === 'split' ? entry('main', main, way) : undefined,
    inside: inside.length > 0 ? entry('inside', inside, 'plain') : undefined,
  }
}

/** Every element that belongs to this frontend alone. */
export const ownElements = (placed: Placed): readonly Element[] => {
  const { frontend, main, inside, slots } = placed
  const in_ = names[keyedBy(frontend)]
  const port = `${frontend.protocol.toLowerCase()} . ${frontend.port}`
  const key = frontend.kind === 'node-port' ? port : `${frontend.ip} . ${port}`
  const entries = entriesOf(placed)
  const elements: Element[] = []
  const add = (set: string, key: string, value?: string) => void elements.push({ set, key, value })

  if (entries.main !== undefined) add(in_.service, key, `goto ${entryName(entries.main)}`)
  if (entries.inside !== undefined) add(in_.inside, key, `goto ${entryName(entries.inside)}`)
  if (main.length === 0) add(in_.refused, key, frontend.lane.otherwise === 'drop' ? 'drop' : 'goto reject-it')
  const endpoints = endpointMap(keyedBy(frontend), frontend.protocol)
  const at = frontend.kind === 'node-port' ? `${frontend.port}` : `${frontend.ip} . ${frontend.port}`
  for (const [start, list] of [
    [laneStart.main, main],
    [laneStart.inside, inside],
  ] as const)
    list.forEach((to, index) => {
      add(endpoints, `${at} . ${start + index}`, to)
    })
  slots.forEach((to, slot) => {
    if (to === undefined) return
    if (main.includes(to)) add(endpoints, `${at} . ${slotStart.main + slot}`, to)
    if (inside.includes(to)) add(endpoints, `${at} . ${slotStart.inside + slot}`, to)
    add(in_.affinity, `${key} . ${to}`, `goto ${rememberName(slot, frontend.affinitySeconds)}`)
  })
  if (frontend.sourceRanges !== undefined) add(in_.guarded, key, `goto ${guardName(frontend.sourceRanges)}`)
  return elements
}

/** Elements that several frontends may need: each stays while one of them does. */
export const sharedElements = ({ frontend }: Placed): readonly Element[] => {
  const ips = new Set([...frontend.lane.to, ...(frontend.inside?.to ?? [])].filter(({ local }) => local).map(({ ip }) => ip))
  const hairpin = [...ips].map(ip => ({ set: 'hairpin', key: `${ip} . ${ip}`, value: undefined }))
  return frontend.kind === 'cluster-ip' ? [{ set: 'cluster-ips', key: frontend.ip, value: undefined }, ...hairpin] : hairpin
}
