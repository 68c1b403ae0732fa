// What one family of the kernel has of this mode right now: asked for when everything is written anew, and when it is compared.
// Reads only. Holds no policy but whose virtual servers are whose.
import type { IPFamily } from '../../api/service-types.ts'
import { isFault } from '../../host/fault.ts'
import type { Ipsets } from '../../host/ipset.ts'
import { type Ipvs, type ServerKey, serverName, type VirtualServer } from '../../host/ipvs.ts'
import type { Link } from '../../host/link.ts'
import { coversAddress } from '../address.ts'
import { nodePortRanges, type ProxySettings } from '../settings.ts'
import type { Marks } from './marks.ts'
import { device, setName } from './words.ts'

export interface Addresses {
  readonly hasDevice: boolean
  /** On the device, of one family. */
  readonly bound: ReadonlySet<string>
  /** On any other device, of one family; loopback's and those of one link left out. */
  readonly own: readonly string[]
}

interface AddressRow {
  readonly ifname: string
  readonly addr_info?: readonly { readonly family: string; readonly local?: string; readonly scope: string }[]
}

/** The addresses of this machine. */
export const readAddresses = async (link: Pick<Link, 'query'>, family: IPFamily): Promise<Addresses> => {
  const rows = await link.query<AddressRow>(['addr', 'show'])
  const wanted = family === 'IPv4' ? 'inet' : 'inet6'
  const of = (row: AddressRow, scopes: readonly string[]) =>
    (row.addr_info ?? []).flatMap(({ family: one, local, scope }) =>
      one === wanted && local !== undefined && scopes.includes(scope) ? [local] : [],
    )
  return {
    hasDevice: rows.some(({ ifname }) => ifname === device),
    bound: new Set(
      rows
        .filter(({ ifname }) => ifname === device)
        .flatMap(row => of(row, ['global', 'host', 'site', 'link']).filter(ip => !ip.startsWith('fe80:'))),
    ),
    own: rows.filter(({ ifname }) => ifname !== device && ifname !== 'lo').flatMap(row => of(row, ['global', 'site'])),
  }
}

/** The addresses of this node that serve node ports. */
export const nodePortIPs = (settings: ProxySettings, { own }: Pick<Addresses, 'own'>, family: IPFamily): readonly string[] => {
  const ranges = nodePortRanges(settings, family)
  return settings.nodePortAddresses === 'primary' ? ranges : own.filter(ip => coversAddress(ranges, ip, family))
}

/** Whether a virtual server may be taken away when no Service wants it: all but those that were excluded, as kube-proxy has it. */
export const mayRemove = (key: ServerKey, family: IPFamily, excluded: readonly string[], marks: Pick<Marks, 'covers'>): boolean =>
  key.family === family && ('mark' in key ? marks.covers(key.mark) : !coversAddress(excluded, key.ip, family))

/** Virtual servers of one family by name. */
export const readServers = async (ipvs: Pick<Ipvs, 'list'>, family: IPFamily): Promise<ReadonlyMap<string, VirtualServer>> =>
  new Map((await ipvs.list()).filter(({ key }) => key.family === family).map(server => [serverName(server.key), server]))

/** The marks that stand, by entry. A set without marks, or none, has none. */
export const readMarks = async (ipsets: Pick<Ipsets, 'entries'>, family: IPFamily): Promise<ReadonlyMap<string, number>> => {
  try {
    const entries = await ipsets.entries(setName('inside', family))
    return new Map(
      entries.flatMap(entry => {
        const [, key = '', mark] = /^(\S+) .*skbmark (0x[0-9a-f]+)/.exec(entry) ?? []
        return mark === undefined ? [] : [[key, Number(mark)] as const]
      }),
    )
  } catch (error) {
    if (isFault(error, 'kernel-refused')) return new Map()
    throw error
  }
}
