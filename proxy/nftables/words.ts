// What differs between the two families in nft's language. ip.ts and ip6.ts hold the values; nobody else spells them.
import type { IPFamily } from '../../api/service-types.ts'

/** nft's family of a table. */
export type TableFamily = 'ip' | 'ip6'

export interface FamilyWords {
  readonly family: IPFamily
  readonly table: TableFamily
  readonly address: 'ipv4_addr' | 'ipv6_addr'
  /** Addresses that never serve node ports. */
  readonly loopback: string
}

/** Our table's name; no other program's is ever touched. */
export const tableName = 'nodelet-proxy'
