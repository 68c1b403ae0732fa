// IP addresses and ranges as numbers: parse, print in the one canonical form (RFC 5952 for IPv6), compare. Pure.
// BigInt, since one arithmetic then serves both families; the canonical form is what file names and nftables elements rely on.
import { isIP } from 'node:net'

export type Family = 4 | 6

export interface Ip {
  readonly family: Family
  readonly value: bigint
}

export interface Cidr {
  readonly family: Family
  /** The first address of the range. */
  readonly base: bigint
  /** The last address of the range. */
  readonly last: bigint
  readonly length: number
  /** The address as it was written, host bits included. */
  readonly address: bigint
}

const bitsOf = (family: Family): number => (family === 4 ? 32 : 128)

const parse4 = (text: string): bigint => text.split('.').reduce((sum, part) => (sum << 8n) + BigInt(part), 0n)

const groupsOf = (half: string): readonly bigint[] =>
  half === ''
    ? []
    : half.split(':').flatMap(group => {
        if (!group.includes('.')) return [BigInt(`0x${group}`)]
        const tail = parse4(group)
        return [tail >> 16n, tail & 0xffffn]
      })

const parse6 = (text: string): bigint => {
  const [head = '', tail] = text.split('::')
  const left = groupsOf(head)
  const right = groupsOf(tail ?? '')
  const gap = Array.from({ length: tail === undefined ? 0 : 8 - left.length - right.length }, () => 0n)
  return [...left, ...gap, ...right].reduce((sum, group) => (sum << 16n) + group, 0n)
}

/** The address that a text names; nothing when it is none. Zones (`fe80::1%eth0`) are none. */
export const parseIp = (text: string): Ip | undefined => {
  const family = isIP(text)
  if (family === 0 || text.includes('%')) return undefined
  return family === 4 ? { family: 4, value: parse4(text) } : { family: 6, value: parse6(text) }
}

const format6 = (value: bigint): string => {
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16))
  const runs = [...groups.join(':').matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].map(run => run[0])
  const longest = runs.sort((a, b) => zeros(b) - zeros(a))[0]
  if (longest === undefined) return groups.join(':')
  return groups.join(':').replace(longest, '::').replace(':::', '::')
}

const zeros = (run: string): number => run.replaceAll(':', '').length

/** The canonical text of an address. */
export const formatIp = ({ family, value }: Ip): string =>
  family === 6 ? format6(value) : [24n, 16n, 8n, 0n].map(shift => (value >> shift) & 0xffn).join('.')

/** The range that `address/length` names; nothing when it is none. */
export const parseCidr = (text: string): Cidr | undefined => {
  const [address = '', length = '', ...rest] = text.split('/')
  const ip = parseIp(address)
  if (ip === undefined || rest.length > 0 || !/^\d{1,3}$/.test(length)) return undefined
  const bits = bitsOf(ip.family)
  if (Number(length) > bits) return undefined
  const size = 1n << BigInt(bits - Number(length))
  const base = ip.value - (ip.value % size)
  return { family: ip.family, base, last: base + size - 1n, length: Number(length), address: ip.value }
}

/** The canonical text of a range, host bits cleared. */
export const formatCidr = (cidr: Cidr): string => `${formatIp({ family: cidr.family, value: cidr.base })}/${cidr.length}`

/** Whether an address lies in a range. */
export const contains = (cidr: Cidr, ip: Ip): boolean =>
  cidr.family === ip.family && ip.value >= cidr.base && ip.value <= cidr.last
