// IP addresses and ranges as numbers: parsed, printed in their one canonical form, compared. Pure.
// Knows nothing of Services or interfaces. Strict as the apiserver is: no leading zeros, no zone, no port.
import { isIPv4, isIPv6 } from 'node:net'
import type { IPFamily } from '../../api/types.ts'

export interface Address {
  readonly family: IPFamily
  readonly value: bigint
}

/** A CIDR: its network address and how many addresses it spans. */
export interface Range {
  readonly family: IPFamily
  readonly network: bigint
  readonly size: bigint
  /** The CIDR in canonical form. */
  readonly text: string
}

const bitsOf = { IPv4: 32, IPv6: 128 } as const

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

/** RFC 5952: lower case, the longest run of two or more zero groups (the first of equals) as `::`. */
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

export const formatAddress = ({ family, value }: Address): string => (family === 'IPv4' ? formatV4(value) : formatV6(value))

/** The text of an address in canonical form, or undefined when it is none: equal addresses have equal texts. */
export const canonicalAddress = (text: string): string | undefined => {
  const address = parseAddress(text)
  return address && formatAddress(address)
}

/** The range that a CIDR names (host bits are cleared), or undefined when the text is none. */
export const parseRange = (cidr: string): Range | undefined => {
  const [text = '', length, ...more] = cidr.split('/')
  const address = parseAddress(text)
  if (address === undefined || length === undefined || more.length > 0 || !/^\d{1,3}$/.test(length)) return undefined
  const bits = bitsOf[address.family]
  if (Number(length) > bits) return undefined
  const size = 1n << BigInt(bits - Number(length))
  const network = address.value & ~(size - 1n)
  const { family } = address
  return { family, network, size, text: `${formatAddress({ family, value: network })}/${Number(length)}` }
}

export const inRange = (range: Range, address: Address): boolean =>
  range.family === address.family && address.value >= range.network && address.value < range.network + range.size

/** The address `offset` after the network address, in canonical form; undefined when the range is smaller than that. */
export const addressAt = (range: Range, offset: bigint): string | undefined =>
  offset < range.size ? formatAddress({ family: range.family, value: range.network + offset }) : undefined
