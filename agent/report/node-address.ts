// Which addresses the Node shows: those that were given, else the one that the node's name means, else that beside the default route.
// Pure but for the one question to DNS, which is asked through a parameter and is not waited for longer than a moment.
// Follows the kubelet's NodeAddress setter (1.36): one address of one family unless --node-ip names one of each.
import { isIP, isIPv6 } from 'node:net'
import type { Clock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'

export interface AddressDeps {
  /** --node-ip; `0.0.0.0` and `::` ask for any of that family. */
  readonly nodeIPs: readonly string[]
  /** Lower case, as registered. */
  readonly nodeName: string
  /** Of all interfaces, without loopback and link-local ones. */
  readonly own: () => readonly string[]
  /** Beside the default routes: one of each family at most. */
  readonly preferred: () => Promise<readonly string[]>
  /** All addresses of a name. */
  readonly lookup: (name: string) => Promise<readonly string[]>
  readonly clock: Clock
}

const unspecified = ['0.0.0.0', '::']
/** A resolver that does not answer must not keep the node from registering. */
const lookupMs = 500

const ofName = async ({ nodeName, own, lookup, clock }: AddressDeps): Promise<readonly string[]> => {
  const answer = lookup(nodeName).catch((): readonly string[] => [])
  const found = await Promise.race([answer, clock.sleep(lookupMs).then((): readonly string[] => [])])
  const ours = own()
  return found.filter(address => ours.includes(address))
}

const check = (addresses: readonly string[], own: readonly string[]): readonly string[] => {
  const foreign = addresses.filter(address => !own.includes(address))
  if (foreign.length === 0) return addresses
  const message = `--node-ip: ${foreign.join(', ')}: no interface of this machine has this address; it has ${own.join(', ') || 'none'}`
  throw new Fault('bad-config', message, { retry: 'backoff' })
}

/**
 * The node's InternalIPs, the preferred one first; empty when the machine has none.
 * @throws Fault `bad-config` when --node-ip names an address that no interface has (yet)
 */
export const findNodeAddresses = async (deps: AddressDeps): Promise<readonly string[]> => {
  const given = deps.nodeIPs.filter(it => !unspecified.includes(it))
  if (given.length > 0) return check(given, deps.own())
  if (isIP(deps.nodeName) !== 0) return [deps.nodeName]
  const prefersV6 = deps.nodeIPs[0] === '::'
  const first = (addresses: readonly string[]) => addresses.find(it => isIPv6(it) === prefersV6) ?? addresses[0]
  const address = first(await ofName(deps)) ?? first(await deps.preferred())
  return address === undefined ? [] : [address]
}
