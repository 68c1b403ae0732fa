// Addresses as text, in the one spelling that keys of kernel maps need: IPv6 shortened and in lower case. Pure.
import { BlockList, isIP, SocketAddress } from 'node:net'
import type { IPFamily } from '../api/types.ts'

/** The address in its canonical spelling, or undefined when it is none of this family. */
export const canonicalAddress = (text: string, family: IPFamily): string | undefined => {
  const version = isIP(text)
  if (family === 'IPv4') return version === 4 ? text : undefined
  if (version !== 6 || text.includes('%')) return undefined
  return new SocketAddress({ address: text, family: 'ipv6' }).address
}

interface Range {
  readonly text: string
  readonly address: string
  readonly bits: number
  readonly type: 'ipv4' | 'ipv6'
}

const toRange = (text: string, family: IPFamily): Range | undefined => {
  const [address = '', length] = text.trim().split('/')
  const canonical = canonicalAddress(address, family)
  const longest = family === 'IPv4' ? 32 : 128
  const bits = length === undefined ? longest : /^\d+$/.test(length) ? Number(length) : -1
  if (canonical === undefined || bits < 0 || bits > longest) return undefined
  return { text: `${canonical}/${bits}`, address: canonical, bits, type: family === 'IPv4' ? 'ipv4' : 'ipv6' }
}

/** True when one of the ranges (`10.0.0.0/8`) holds the address; ranges and addresses of the other family never match. */
export const coversAddress = (ranges: readonly string[], address: string, family: IPFamily): boolean => {
  const wanted = canonicalAddress(address, family)
  if (wanted === undefined) return false
  return ranges.some(text => {
    const range = toRange(text, family)
    return range !== undefined && holds(range, wanted)
  })
}

const holds = (range: Range, address: string): boolean => {
  const list = new BlockList()
  list.addSubnet(range.address, range.bits, range.type)
  return list.check(address, range.type)
}

/**
 * The ranges of one family with those left out that another one covers: a kernel set of intervals refuses overlaps.
 * Texts that are no range of this family are left out too.
 */
export const distinctRanges = (texts: readonly string[], family: IPFamily): readonly string[] => {
  const ranges = texts.map(text => toRange(text, family)).filter(range => range !== undefined)
  ranges.sort((a, b) => a.bits - b.bits)
  const kept: Range[] = []
  for (const range of ranges) if (!kept.some(wider => holds(wider, range.address))) kept.push(range)
  return kept.map(range => range.text)
}
