// The cluster DNS addresses as addresses of this machine: a /32 or /128 on `lo`, where each exists without a network.
// Pods reach them by their default route, since the host owns them: no NAT, no conntrack entry to race for, nothing for the
// Service rules to know. Ours are told by a label (IPv4) or by standing on lo (IPv6); one on another interface is left alone.

import { parseAddress } from '../../../host/address.ts'
import { isFault } from '../../../host/fault.ts'
import type { Link } from '../../../host/link.ts'

const device = 'lo'
const label = 'lo:nodelet'

// Never the source address of what the host sends by itself: of scope host, or deprecated, where IPv6 knows no scope.
// Even on lo an IPv6 address is tentative at first, and bind refuses it until duplicate detection has run: nodad.
const manners4 = `scope host label ${label}`
const manners6 = 'nodad preferred_lft 0'

interface Shown {
  readonly ifname: string
  readonly addr_info: readonly { readonly local?: string; readonly label?: string }[]
}

const prefixed = (address: string): string => `${address}/${parseAddress(address)?.family === 'IPv6' ? 128 : 32}`

const isV6 = (address: string): boolean => parseAddress(address)?.family === 'IPv6'

type Where = 'nowhere' | 'ours' | 'elsewhere'

const find = (shown: readonly Shown[], address: string): Where => {
  for (const { ifname, addr_info } of shown)
    for (const info of addr_info)
      if (info.local === address) return ifname === device && (isV6(address) || info.label === label) ? 'ours' : 'elsewhere'
  return 'nowhere'
}

/**
 * Puts the addresses on lo where this machine does not have them yet.
 * @throws Fault `network` when the kernel refuses
 */
export const addOwnAddresses = async (link: Link, addresses: readonly string[]): Promise<void> => {
  const shown = await link.query<Shown>(['addr', 'show'])
  for (const address of addresses.filter(it => find(shown, it) === 'nowhere')) {
    try {
      await link.batch([`addr add ${prefixed(address)} dev ${device} ${isV6(address) ? manners6 : manners4}`])
    } catch (error) {
      if (!isFault(error, 'already-exists')) throw error
    }
  }
}

/** Takes away those of the addresses that are ours; what is not there is fine. @returns those that were there */
export const removeOwnAddresses = async (link: Link, addresses: readonly string[]): Promise<readonly string[]> => {
  const shown = await link.query<Shown>(['addr', 'show'])
  const ours = addresses.filter(address => find(shown, address) === 'ours')
  await link.batch(ours.map(address => `addr del ${prefixed(address)} dev ${device}`))
  return ours
}
