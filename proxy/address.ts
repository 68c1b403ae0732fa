// Addresses and ranges of one family, as the proxy's objects name them. Pure. The arithmetic is host/address.ts's.
import type { IPFamily } from '../api/service-types.ts'
import * as ip from '../host/address.ts'

/** The address in its canonical spelling, or undefined when it is none of this family. */
export const canonicalAddress = (text: string, family: IPFamily): string | undefined => {
  const canonical = ip.canonicalAddress(text)
  return canonical?.includes(':') === (family === 'IPv6') ? canonical : undefined
}

/** A range, or a single address, of this family. */
const toRange = (text: string, family: IPFamily): ip.Cidr | undefined => {
  const trimmed = text.trim()
  const range = ip.parseCidr(trimmed.includes('/') ? trimmed : `${trimmed}/${ip.bitsOf[family]}`)
  return range?.family === family ? range : undefined
}

/** True when one of the ranges (`10.0.0.0/8`) holds the address; ranges and addresses of the other family never match. */
export const coversAddress = (ranges: readonly string[], address: string, family: IPFamily): boolean => {
  const wanted = ip.parseAddress(address)
  if (wanted?.family !== family) return false
  return ranges.some(text => {
    const range = toRange(text, family)
    return range !== undefined && ip.contains(range, wanted)
  })
}

/**
 * The ranges of one family with those left out that another one covers: a kernel set of intervals refuses overlaps.
 * Texts that are no range of this family are left out too.
 */
export const distinctRanges = (texts: readonly string[], family: IPFamily): readonly string[] => {
  const ranges = texts.map(text => toRange(text, family)).filter(range => range !== undefined)
  ranges.sort((a, b) => a.length - b.length)
  const kept: ip.Cidr[] = []
  for (const range of ranges) {
    if (!kept.some(wider => ip.contains(wider, { family, value: range.first }))) kept.push(range)
  }
  return kept.map(range => range.text)
}
