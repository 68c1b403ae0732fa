// A seeded maker of random Service and EndpointSlice changes, put straight into two stores: for the check that any way there leads to
// the kernel state that one full sync of the outcome has. The same seed makes the same changes. Asks for everything that the model
// knows: each type and policy, both families, shared external IPs and node ports, endpoints that leave, slices that move.
import type { Protocol } from '../api/meta.ts'
import { type Endpoint, type EndpointSlice, type IPFamily, type Service, serviceNameLabel } from '../api/service-types.ts'
import type { Store } from '../api/source.ts'

export interface RandomChangesDeps {
  readonly services: Store<Service>
  readonly slices: Store<EndpointSlice>
  readonly seed: number
  /** Names of Services that may be there at once; default 40. */
  readonly names?: number
  /** Default all three. */
  readonly protocols?: readonly Protocol[]
}

export interface RandomChanges {
  /** Makes one change. @returns what it was, for the message of a test that fails */
  next(): string
}

/** The node that the changes are made for: some endpoints run on it, and hints name it or its zone. */
export const randomNode = { name: 'node-a', zone: 'zone-a', ips: ['192.168.7.10', 'fd00:7::10'] } as const
/** Where the endpoints' addresses are from. */
export const randomPodRanges = ['10.244.0.0/16', 'fd00:244::/32'] as const

const both: readonly IPFamily[] = ['IPv4', 'IPv6']
const namespace = 'random'
// Few of each, so that several Services claim one.
const external = {
  IPv4: ['203.0.113.1', '203.0.113.2', '203.0.113.3', '203.0.113.4'],
  IPv6: ['2001:db8::1', '2001:db8::2', '2001:db8::3', '2001:db8::4'],
} as const
const ranges = ['10.244.0.0/16', '192.168.7.0/24', '198.51.100.0/24', '2001:db8:1::/48'] as const
const timeouts = [60, 3_600, 10_800] as const

/** Numbers from 0 to below `below`; the same ones for the same seed (mulberry32). */
export const createRandom = (seed: number): ((below: number) => number) => {
  let state = seed >>> 0
  return below => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

const createChoices = (seed: number) => {
  const random = createRandom(seed)
  const one = <T>(of: readonly T[]): T => of[random(of.length)]!
  return {
    random,
    one,
    chance: (percent: number) => random(100) < percent,
    some: <T>(of: readonly T[], most = of.length): readonly T[] => [
      ...new Set(Array.from({ length: random(most + 1) }, () => one(of))),
    ],
  }
}
type Choices = ReturnType<typeof createChoices>

const clusterIP = (index: number, family: IPFamily) =>
  family === 'IPv4' ? `10.96.${index >> 8}.${index & 255}` : `fd00:96::${(index + 1).toString(16)}`

const toPorts = ({ random, one, some, chance }: Choices, protocols: readonly Protocol[]): Service['spec']['ports'] => {
  const names = some(['http', 'metrics', 'dns'], 3)
  return (names.length === 0 ? [''] : names).map((name, at) => ({
    ...(name !== '' && { name }),
    protocol: one(protocols),
    port: chance(70) ? 80 + at : 8_000 + random(4),
    targetPort: 8_080 + at,
    ...(chance(70) && { nodePort: 30_000 + random(60) }),
  }))
}

const toService = (choices: Choices, index: number, protocols: readonly Protocol[]): Service => {
  const { random, one, some, chance } = choices
  const families = one<readonly IPFamily[]>([['IPv4'], ['IPv6'], both, ['IPv6', 'IPv4']])
  const type = one([
    'ClusterIP',
    'ClusterIP',
    'NodePort',
    'NodePort',
    'LoadBalancer',
    'LoadBalancer',
    ...(chance(20) ? (['ExternalName'] as const) : []),
  ] as const)
  const headless = chance(4)
  const ingress = both
    .flatMap(family => some(external[family], 2))
    .map(ip => ({ ip, ipMode: one(['VIP', 'VIP', 'Proxy'] as const) }))
  return {
    metadata: {
      ...{ namespace, name: `service-${index}` },
      creationTimestamp: `2026-01-01T00:00:0${random(6)}Z`,
      ...(chance(3) && { labels: { 'service.kubernetes.io/service-proxy-name': 'another' } }),
    },
    spec: {
      type,
      ...(headless
        ? { clusterIP: 'None', clusterIPs: ['None'] }
        : {
            clusterIP: clusterIP(index, families[0]!),
            clusterIPs: families.map(family => clusterIP(index, family)),
          }),
      ipFamilies: families,
      ports: toPorts(choices, protocols) ?? [],
      ...(chance(25) && { externalIPs: both.flatMap(family => some(external[family], 2)) }),
      ...(chance(25) && {
        sessionAffinity: 'ClientIP' as const,
        sessionAffinityConfig: { clientIP: { timeoutSeconds: one(timeouts) } },
      }),
      ...(chance(20) && { internalTrafficPolicy: 'Local' as const }),
      ...(chance(35) && { externalTrafficPolicy: 'Local' as const }),
      ...(chance(30) && { loadBalancerSourceRanges: chance(10) ? ['0.0.0.0/0', '::/0'] : some(ranges, 3) }),
      ...(chance(10) && { publishNotReadyAddresses: true }),
    },
    ...(type === 'LoadBalancer' && { status: { loadBalancer: { ingress } } }),
  }
}

const toEndpoint = ({ random, one, chance }: Choices, family: IPFamily): Endpoint => {
  const at = random(24)
  const address = family === 'IPv4' ? `10.244.1.${10 + at}` : `fd00:244:1::${(10 + at).toString(16)}`
  return {
    // An address that is none of its slice's family is passed over.
    addresses: [chance(2) ? one(['10.244.9.9', 'fd00:244:9::9', 'nonsense']) : address],
    ...(chance(80) && {
      conditions: one([
        { ready: true },
        { ready: true, serving: true, terminating: false },
        { ready: false },
        { ready: false, serving: true, terminating: true },
        { ready: false, serving: false, terminating: true },
      ]),
    }),
    ...(chance(80) && { nodeName: one([randomNode.name, 'node-b', 'node-c']) }),
    ...(chance(50) && {
      hints: {
        ...(chance(70) && { forZones: [{ name: one([randomNode.zone, 'zone-b']) }] }),
        ...(chance(30) && { forNodes: [{ name: one([randomNode.name, 'node-b']) }] }),
      },
    }),
  }
}

const toSlice = (choices: Choices, index: number, at: number, protocols: readonly Protocol[]): EndpointSlice => {
  const { random, one, some, chance } = choices
  const family = one(both)
  const names = chance(90) ? ['', 'http', 'metrics', 'dns'] : some(['http', 'metrics', 'dns'])
  // Now and then the slice is given to another Service.
  const owner = chance(3) ? random(8) : index
  return {
    metadata: { namespace, name: `service-${index}-${at}`, labels: chance(1) ? {} : { [serviceNameLabel]: `service-${owner}` } },
    addressType: family,
    ports: names.flatMap((name, port) =>
      protocols.map(protocol => ({ ...(name !== '' && { name }), protocol, ...(!chance(2) && { port: 8_080 + port }) })),
    ),
    endpoints: Array.from({ length: chance(15) ? 0 : 1 + random(chance(5) ? 20 : 5) }, () => toEndpoint(choices, family)),
  }
}

/** Begins with what the stores hold. */
export const createRandomChanges = (deps: RandomChangesDeps): RandomChanges => {
  const { services, slices, seed, names = 40, protocols = ['TCP', 'UDP', 'SCTP'] } = deps
  const choices = createChoices(seed)
  const { random } = choices
  return {
    next: () => {
      const index = random(names)
      const what = random(100)
      if (what < 6) {
        services.remove(namespace, `service-${index}`)
        return `remove service-${index}`
      }
      if (what < 10) {
        const at = random(3)
        slices.remove(namespace, `service-${index}-${at}`)
        return `remove slice service-${index}-${at}`
      }
      if (what < 34) {
        const service = toService(choices, index, protocols)
        services.put(service)
        return `put ${JSON.stringify(service)}`
      }
      const slice = toSlice(choices, index, random(3), protocols)
      slices.put(slice)
      return `put ${JSON.stringify(slice)}`
    },
  }
}
