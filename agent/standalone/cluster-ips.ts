// The addresses of one Service: those its manifest names, or free ones near where a hash of its name points. No I/O, no clock.
// Follows the apiserver's IP allocator: the low end of a range is left to addresses that manifests name, and used last.
import type { IPFamily } from '../../api/service-types.ts'
import { addressAt, type Cidr, contains, parseAddress } from '../../host/address.ts'
import type { Families } from './families.ts'
import { keyHash } from './hash.ts'
import { around, type Pool } from './pool.ts'

/** 1/16 of a range, at least 16, at most 256 addresses, are left to manifests that name one. */
const lowBand = (size: bigint): bigint => {
  if (size <= 16n) return 1n
  const part = size / 16n
  return part < 16n ? 16n : part > 256n ? 256n : part
}

const sizeOf = ({ first, last }: Cidr): bigint => last - first + 1n

// Neither the network address nor, in IPv4, the broadcast address belongs to anybody.
const endOf = (range: Cidr): bigint => (range.family === 'IPv4' ? sizeOf(range) - 1n : sizeOf(range))

function* candidates(range: Cidr, hash: number): Generator<string> {
  const low = lowBand(sizeOf(range))
  for (const offset of around(hash, low, endOf(range) - low)) yield addressAt(range, offset) ?? ''
  for (const offset of around(hash, 1n, low - 1n)) yield addressAt(range, offset) ?? ''
}

export const rangeOf = (ranges: readonly Cidr[], text: string): Cidr | undefined => {
  const address = parseAddress(text)
  const range = address && ranges.find(it => contains(it, address))
  if (address === undefined || range === undefined) return undefined
  const offset = address.value - range.first
  return offset > 0n && offset < endOf(range) ? range : undefined
}

/** Claims an address that a manifest names; what is wrong when it may not have it. */
export const claimNamed = (ranges: readonly Cidr[], pool: Pool<string>, key: string, address: string): string | undefined => {
  if (rangeOf(ranges, address) === undefined)
    return `clusterIP ${address} is not in the service range ${ranges.map(it => it.text).join(', ')}`
  if (!pool.mayHave(key, address))
    return `clusterIP ${address} is ${pool.isClaimed(address) ? 'taken by' : 'kept for'} Service ${pool.ownerOf(address)}`
  pool.claim(key, address)
  return undefined
}

const claimAny = (
  ranges: readonly Cidr[],
  pool: Pool<string>,
  key: string,
  family: IPFamily,
  before: readonly string[],
): string | undefined => {
  const range = ranges.find(it => it.family === family)
  if (range === undefined) return undefined
  const preferred = [...before, ...pool.keptFor(key)].find(it => rangeOf(ranges, it) === range && pool.mayHave(key, it))
  const address = preferred ?? candidates(range, keyHash(key)).find(it => pool.ownerOf(it) === undefined)
  if (address !== undefined) pool.claim(key, address)
  return address
}

/**
 * Claims one address for each family.
 * @param before what the Service had: taken again where it still may
 * @returns the addresses in the order of the families, or what is wrong
 */
export const claimClusterIPs = (
  ranges: readonly Cidr[],
  pool: Pool<string>,
  key: string,
  { families, given }: Families,
  before: readonly string[],
): readonly string[] | string => {
  const addresses: string[] = []
  for (const [index, family] of families.entries()) {
    const named = given[index]
    const problem = named === undefined ? undefined : claimNamed(ranges, pool, key, named)
    if (problem !== undefined) return problem
    const address = named ?? claimAny(ranges, pool, key, family, before)
    if (address === undefined) return `no free address is left in the service range of ${family}`
    addresses.push(address)
  }
  return addresses
}
