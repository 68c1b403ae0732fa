// On which addresses the health check ports of Services are served: those that serve node ports.
// Follows kube-proxy's nodePortAddresses: `primary`, or every local address in the ranges, of which the whole family is one listener.
import { networkInterfaces } from 'node:os'
import type { IPFamily } from '../../api/service-types.ts'
import { canonicalAddress, coversAddress } from '../address.ts'
import { nodePortRanges, type ProxySettings } from '../settings.ts'

const whole: Readonly<Record<IPFamily, { readonly range: string; readonly host: string }>> = {
  IPv4: { range: '0.0.0.0/0', host: '0.0.0.0' },
  IPv6: { range: '::/0', host: '::' },
}

/** All of this machine's, loopback included, that need no interface's name to be listened on. */
const localAddresses = (): readonly string[] =>
  Object.values(networkInterfaces()).flatMap(list => (list ?? []).filter(it => !it.scopeid).map(it => it.address))

/** @param local the machine's addresses; only asked for where ranges choose among them */
export const listenAddresses = (
  settings: ProxySettings,
  family: IPFamily,
  local: () => readonly string[] = localAddresses,
): readonly string[] => {
  const ranges = nodePortRanges(settings, family)
  if (settings.nodePortAddresses === 'primary') return ranges
  if (ranges.includes(whole[family].range)) return [whole[family].host]
  const found = local().map(address => canonicalAddress(address, family))
  return [...new Set(found.filter(address => address !== undefined && coversAddress(ranges, address, family)))] as string[]
}
