// Which address comes next: round robin over a set of ranges, so that an address just freed is the last to be used again. Pure.
// Follows host-local: network, broadcast and gateway addresses are nobody's; store.ts keeps what is given away.
import { type Address, bitsOf, type Cidr, formatAddress } from '../host/address.ts'

export interface Range {
  readonly subnet: Cidr
  readonly first: bigint
  readonly last: bigint
  readonly gateway: bigint
}

/** Ranges of one family, tried in order; a pod gets one address out of each set. */
export type RangeSet = readonly Range[]

export interface Chosen {
  readonly ip: Address
  readonly range: Range
}

/**
 * The addresses of a subnet that a pod may have. The first and last of an IPv4 subnet are network and broadcast,
 * the first of an IPv6 subnet is the routers' anycast address; subnets of two or one address (RFC 3021) have neither.
 */
export const usable = (subnet: Cidr): { readonly first: bigint; readonly last: bigint } => {
  if (subnet.length >= bitsOf[subnet.family] - 1) return { first: subnet.first, last: subnet.last }
  return { first: subnet.first + 1n, last: subnet.family === 'IPv4' ? subnet.last - 1n : subnet.last }
}

const scan = (range: Range, from: bigint, to: bigint, isTaken: (text: string) => boolean): Chosen | undefined => {
  for (let value = from; value <= to; value += 1n) {
    const ip: Address = { family: range.subnet.family, value }
    if (value !== range.gateway && !isTaken(formatAddress(ip))) return { ip, range }
  }
  return undefined
}

/**
 * The next free address of a set.
 * @param last the address given away last; the search begins behind it and comes round to it
 * @returns nothing when the set is exhausted
 */
export const nextAddress = (set: RangeSet, isTaken: (text: string) => boolean, last?: Address): Chosen | undefined => {
  const at = last === undefined ? -1 : set.findIndex(range => last.value >= range.first && last.value <= range.last)
  const start = set[at]
  if (start === undefined || last === undefined) return firstOf(set, isTaken)
  return (
    scan(start, last.value + 1n, start.last, isTaken) ??
    firstOf([...set.slice(at + 1), ...set.slice(0, at)], isTaken) ??
    scan(start, start.first, last.value, isTaken)
  )
}

const firstOf = (set: RangeSet, isTaken: (text: string) => boolean): Chosen | undefined => {
  for (const range of set) {
    const chosen = scan(range, range.first, range.last, isTaken)
    if (chosen !== undefined) return chosen
  }
  return undefined
}
