// Addresses and ranges in configuration: at most one of each family. Pure.
import { isIPv6 } from 'node:net'

/** True when no two addresses or ranges are of one address family. */
export const onePerFamily = (addresses: readonly string[]): boolean =>
  new Set(addresses.map(address => isIPv6(address.split('/')[0] ?? ''))).size === addresses.length
