// IP addresses and ranges as numbers: parsed, printed in their one canonical form (RFC 5952), compared. Pure.
// BigInt, since one arithmetic then serves both families. The canonical text is what file names and keys of kernel maps rely on.
// Strict as the apiserver is: no leading zeros, no zone, no port.
import { isIPv4, isIPv6 } from 'node:net'

export type Family = 'IPv4' | 'IPv6'

export interface Address {
  readonly family: Family
  readonly value: bigint
}

/** A range of addresses, whose first one has only zeros behind the prefix. */
export interface Cidr {
  readonly family: Family
  readonly first: bigint
  readonly last: bigint
  /** Length of the prefix in bits. */
  readonly length: number
  /** `first/length` in canonical form. */
  readonly text: string
}

/** Length of an address in bits. */
export const bitsOf = { IPv4: 32, IPv6: 128 } as const

const valueOfV4 = (text: string): bigint => text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n)

const groupsOf = (text: string): readonly bigint[] =>
  text === ''
    ? []
    : text.split(':').flatMap(group => {
        if (!group.includes('.')) return [BigInt(`0x${group}`)]
        const embedded = valueOfV4(group)
        return [embedded >> 16n, embedded & 0xffffn]
      })

const valueOfV6 = (text: string): bigint => {
  const [head = '', tail] = text.split('::')
  const left = groupsOf(head)
  const right = groupsOf(tail ?? '')
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => 0n)
  return [...left, ...zeros, ...right].reduce((value, group) => (value << 16n) | group, 0n)
}

/** The address, or undefined when the text is none. */
export const parseAddress = (text: string): Address | undefined => {
  if (isIPv4(text)) return { family: 'IPv4', value: valueOfV4(text) }
  if (isIPv6(text) && !text.includes('%')) return { family: 'IPv6', value: valueOfV6(text) }
  return undefined
}

const formatV4 = (value: bigint): string => [24n, 16n, 8n, 0n].map(shift => (value >> shift) & 0xffn).join('.')

/** Lower case, the longest run of two or more zero groups (the first of equals) as `::`. */
const formatV6 = (value: bigint): string => {
  const groups = Array.from({ length: 8 }, (_, index) => ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16))
  let best = { start: 0, length: 1 }
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (groups[start + length] === '0') length++
    if (length > best.length) best = { start, length }
  }
  if (best.length === 1) return groups.join(':')
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`
}

/** The canonical text of an address. */
export const formatAddress = ({ family, value }: Address): string => (family === 'IPv4' ? formatV4(value) : formatV6(value))

/** The text of an address in canonical form, or undefined when it is none: equal addresses have equal texts. */
export const canonicalAddress = (text: string): string | undefined => {
  // an IPv4 address without leading zeros has one spelling
  if (isIPv4(text)) return text
  const address = parseAddress(text)
  return address && formatAddress(address)
}

/** The range that `address/length` names (host bits are cleared), or undefined when the text is none. */
export const parseCidr = (text: string): Cidr | undefined => {
  const [start = '', digits = '', ...more] = text.split('/')
  const address = parseAddress(start)
  if (address === undefined || more.length > 0 || !/^\d{1,3}$/.test(digits)) return undefined
  const { family } = address
  const length = Number(digits)
  if (length > bitsOf[family]) return undefined
  const size = 1n << BigInt(bitsOf[family] - length)
  const first = address.value & ~(size - 1n)
  return { family, first, last: first + size - 1n, length, text: `${formatAddress({ family, value: first })}/${length}` }
}

/** True for an address in the range; one of the other family never is. */
export const contains = (cidr: Cidr, { family, value }: Address): boolean =>
  cidr.family === family && value >= cidr.first && value <= cidr.last

/** The address `offset` after the first one, in canonical form; undefined when the range is smaller than that. */
export const addressAt = ({ family, first, last }: Cidr, offset: bigint): string | undefined =>
  first + offset <= last ? formatAddress({ family, value: first + offset }) : undefined

/** True when no two addresses or ranges are of one family. */
export const onePerFamily = (texts: readonly string[]): boolean =>
  new Set(texts.map(text => isIPv6(text.split('/')[0] ?? ''))).size === texts.length

/** `host:port`, with the brackets that IPv6 needs. */
export const hostPort = (host: string, port: number): string => (isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`)
