// Cluster DNS on one machine: the zone, the forwarder and a server on each cluster address, put together.
// Owns the addresses it listens on; starting and stopping leave nothing behind.
import type { EndpointSlice, Service } from '../../../api/service-types.ts'
import type { Source } from '../../../api/source.ts'
import type { Pod } from '../../../api/types.ts'
import { canonicalAddress, parseCidr } from '../../../host/address.ts'
import type { Clock } from '../../../host/clock.ts'
import { Fault } from '../../../host/fault.ts'
import type { Link } from '../../../host/link.ts'
import type { Log } from '../../../host/log.ts'
import type { Nft } from '../../../host/nft.ts'
import { dnsAddressOf } from '../allocate.ts'
import { createForwarder } from './forward.ts'
import { normalName } from './names.ts'
import { addOwnAddresses, removeOwnAddresses } from './own-address.ts'
import { keepOwnPort, releaseOwnPort } from './own-port.ts'
import { createNameservers } from './resolv-conf.ts'
import { createResolve } from './resolve.ts'
import { type DnsServer, startDnsServer } from './server.ts'
import { createExchange } from './upstream.ts'
import { createZone } from './zone.ts'

export interface DnsDeps {
  readonly services: Source<Service>
  readonly endpointSlices: Source<EndpointSlice>
  readonly pods: Source<Pod>
  /** Addresses to answer on: clusterDNS of the KubeletConfiguration, else `clusterDnsAddresses`. */
  readonly addresses: readonly string[]
  /** `cluster.local` unless the KubeletConfiguration says another. */
  readonly clusterDomain: string
  readonly serviceCIDRs: readonly string[]
  /** The node's own resolv.conf. */
  readonly resolvConf: string
  readonly clock: Clock
  readonly log: Log
  readonly link: Link
  readonly nft: Pick<Nft, 'apply'>
}

export interface Dns {
  /**
   * Takes the addresses and listens on them; port 53 there stays ours whatever hostPorts pods have.
   * @throws Fault `network` when an address cannot be had or port 53 is taken; nothing is left behind then
   */
  start(): Promise<void>
  /** Puts back what somebody else took away of addresses and rules; does nothing when not started. @throws as `start` */
  repair(): Promise<void>
  /** Lets go of sockets and addresses; does nothing when not started. */
  stop(): Promise<void>
}

/** Where cluster DNS answers when nobody says: the tenth address of each service range. */
export const clusterDnsAddresses = (serviceCIDRs: readonly string[]): readonly string[] =>
  serviceCIDRs.flatMap(cidr => {
    const range = parseCidr(cidr)
    const address = range && dnsAddressOf(range)
    return address === undefined ? [] : [address]
  })

const dnsPort = 53

export const createDns = (deps: DnsDeps): Dns => {
  const { clock, link, nft } = deps
  const log = deps.log.child({ part: 'dns' })
  const addresses = deps.addresses.map(address => {
    const known = canonicalAddress(address)
    if (known === undefined) throw new Fault('bad-config', `clusterDNS: "${address}" is no IP address`, { retry: 'never' })
    return known
  })
  let stops: (() => Promise<unknown>)[] = []

  const stop = async () => {
    const undo = stops.toReversed()
    stops = []
    for (const step of undo) await step()
  }
  /** Without it cluster DNS works all the same, as long as no pod has hostPort 53. */
  const claimPort = async () => {
    stops.push(() => releaseOwnPort(nft).catch(error => log.warn({ err: error }, 'the table of cluster DNS was not removed')))
    try {
      await keepOwnPort(nft, addresses)
    } catch (error) {
      log.warn({ err: error }, 'a pod with hostPort 53 would get the questions for cluster DNS')
    }
  }
  const start = async () => {
    const { zone, stop: stopZone } = createZone(deps)
    stops.push(async () => stopZone())
    const ranges = deps.serviceCIDRs.map(parseCidr).filter(range => range !== undefined)
    const servers = createNameservers({ path: deps.resolvConf, clock, own: addresses })
    const forwarder = createForwarder({ clock, log, exchange: createExchange(clock), servers })
    const config = { domain: normalName(deps.clusterDomain), addresses, ranges }
    const resolve = createResolve({ zone, config, forwarder })
    stops.push(() => removeOwnAddresses(link, addresses))
    await addOwnAddresses(link, addresses)
    await claimPort()
    for (const address of addresses) {
      const server: DnsServer = await startDnsServer({ address, port: dnsPort, resolve, clock, log })
      stops.push(server.stop)
    }
    log.info({ addresses, domain: config.domain }, 'cluster DNS answers')
  }
  return {
    start: async () => {
      try {
        await start()
      } catch (error) {
        await stop()
        throw error
      }
    },
    repair: async () => {
      if (stops.length === 0) return
      await addOwnAddresses(link, addresses)
      await keepOwnPort(nft, addresses)
    },
    stop,
  }
}
