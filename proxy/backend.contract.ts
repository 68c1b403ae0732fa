// What every backend must do with packets: the same cases for the in-memory tables of the unit run and for real namespaces.
// A world has one node with two pods behind Services (a, b), a pod that is only a client, another host, and an endpoint on another
// node that the other host plays. Addresses are part of the contract, so that worlds only differ in how packets travel.
import type { Test } from 'tap'
import type { Protocol } from '../api/meta.ts'
import { type EndpointSlice, type IPFamily, type Service, type ServiceSpec, serviceNameLabel } from '../api/service-types.ts'

export type Sender = 'pod' | 'a' | 'node' | 'outside'
export type Endpoint = 'a' | 'b' | 'remote'

export interface Attempt {
  readonly from: Sender
  readonly to: string
  readonly port: number
  readonly protocol?: Protocol
}

export type Outcome = { readonly reached: Endpoint; readonly sees: 'client' | 'node' } | 'refused' | 'dropped'

export interface World {
  /** The node routes exactly these from now on. */
  set(services: readonly Service[], slices: readonly EndpointSlice[]): Promise<void>
  /** One new connection, or one datagram from a new port. */
  send(attempt: Attempt): Promise<Outcome>
  /** Protocols that this world can send. */
  readonly protocols: readonly Protocol[]
}

export interface Addresses {
  readonly node: string
  readonly outside: string
  readonly pod: string
  readonly endpoints: Readonly<Record<Endpoint, string>>
  readonly podRange: string
  readonly cluster: string
  readonly external: string
  readonly balancer: string
}

/** The addresses of the world, by family. */
export const addresses: Readonly<Record<IPFamily, Addresses>> = {
  IPv4: {
    node: '192.168.50.1',
    outside: '192.168.50.2',
    pod: '10.244.1.10',
    endpoints: { a: '10.244.1.11', b: '10.244.1.12', remote: '10.244.2.11' },
    podRange: '10.244.0.0/16',
    cluster: '10.96.0.10',
    external: '203.0.113.5',
    balancer: '203.0.113.9',
  },
  IPv6: {
    node: 'fd00:50::1',
    outside: 'fd00:50::2',
    pod: 'fd00:244:1::10',
    endpoints: { a: 'fd00:244:1::11', b: 'fd00:244:1::12', remote: 'fd00:244:2::11' },
    podRange: 'fd00:244::/32',
    cluster: 'fd00:96::10',
    external: 'fd00:113::5',
    balancer: 'fd00:113::9',
  },
}

/** The node that the world is, and the port that its endpoints serve. */
export const nodeName = 'node-1'
export const targetPort = 8080
export const nodePort = 30_080

export interface EndpointState {
  readonly ready?: boolean
  readonly serving?: boolean
  readonly terminating?: boolean
}

/** A slice with these endpoints in these states. */
export const slice = (
  family: IPFamily,
  endpoints: Readonly<Partial<Record<Endpoint, EndpointState>>>,
  protocols: readonly Protocol[] = ['TCP', 'UDP'],
  name = 'web',
): EndpointSlice => ({
  metadata: { namespace: 'default', name: `${name}-${family}`, labels: { [serviceNameLabel]: name } },
  addressType: family,
  ports: protocols.map(protocol => ({ name: protocol.toLowerCase(), protocol, port: targetPort })),
  endpoints: (Object.entries(endpoints) as [Endpoint, EndpointState][]).map(([endpoint, conditions]) => ({
    addresses: [addresses[family].endpoints[endpoint]],
    nodeName: endpoint === 'remote' ? 'node-2' : nodeName,
    conditions,
  })),
})

/** A Service on port 80 by TCP and UDP. */
export const service = (
  family: IPFamily,
  spec: Partial<ServiceSpec> = {},
  protocols: readonly Protocol[] = ['TCP', 'UDP'],
): Service => ({
  metadata: { namespace: 'default', name: 'web' },
  spec: {
    type: 'ClusterIP',
    clusterIP: addresses[family].cluster,
    clusterIPs: [addresses[family].cluster],
    ipFamilies: [family],
    ports: protocols.map(protocol => ({
      name: protocol.toLowerCase(),
      protocol,
      port: 80,
      ...((spec.type === 'NodePort' || spec.type === 'LoadBalancer') && { nodePort }),
    })),
    ...spec,
  },
})

/** One that also has a node port, an external IP and the address of a load balancer. */
export const balancedService = (family: IPFamily, spec: Partial<ServiceSpec> = {}): Service => ({
  ...service(family, { type: 'LoadBalancer', externalIPs: [addresses[family].external], ...spec }),
  status: { loadBalancer: { ingress: [{ ip: addresses[family].balancer }] } },
})

const ready: EndpointState = { ready: true }
const leaving: EndpointState = { ready: false, serving: true, terminating: true }
const broken: EndpointState = { ready: false, serving: false }

interface Case {
  readonly name: string
  readonly service: Service
  readonly endpoints: Readonly<Partial<Record<Endpoint, EndpointState>>>
  readonly attempts: readonly (Attempt & {
    /** All that may be reached, each of which must be within `times` attempts; or how it is refused. */
    readonly expect: readonly Endpoint[] | 'refused' | 'dropped'
    readonly sees?: 'client' | 'node'
  })[]
}

const to = (from: Sender, address: string, port: number) => ({ from, to: address, port })
const ways = (family: IPFamily) => ({
  ...addresses[family],
  clusterIP: (from: Sender) => to(from, addresses[family].cluster, 80),
  port: (from: Sender) => to(from, addresses[family].node, nodePort),
})

const insideCases = (family: IPFamily): readonly Case[] => {
  const { cluster, external, balancer, clusterIP, port } = ways(family)
  return [
    {
      name: 'a pod reaches every endpoint of a cluster IP, and they see its own address',
      service: service(family),
      endpoints: { a: ready, b: ready, remote: ready },
      attempts: [
        { ...clusterIP('pod'), expect: ['a', 'b', 'remote'], sees: 'client' },
        { ...clusterIP('pod'), protocol: 'UDP', expect: ['a', 'b', 'remote'], sees: 'client' },
      ],
    },
    {
      name: 'the node itself reaches a cluster IP, as itself',
      service: service(family),
      endpoints: { a: ready },
      attempts: [{ ...clusterIP('node'), expect: ['a'], sees: 'node' }],
    },
    {
      name: 'another host that sends to a cluster IP is masqueraded',
      service: service(family),
      endpoints: { a: ready },
      attempts: [{ ...clusterIP('outside'), expect: ['a'], sees: 'node' }],
    },
    {
      name: 'a Service without endpoints refuses',
      service: balancedService(family),
      endpoints: {},
      attempts: [
        { ...clusterIP('pod'), expect: 'refused' },
        { ...clusterIP('node'), expect: 'refused' },
        { ...port('outside'), expect: 'refused' },
        { ...to('outside', external, 80), expect: 'refused' },
        { ...to('outside', balancer, 80), expect: 'refused' },
      ],
    },
    {
      name: 'endpoints that are not ready are as good as none',
      service: service(family),
      endpoints: { a: broken, b: broken },
      attempts: [{ ...clusterIP('pod'), expect: 'refused' }],
    },
    {
      name: 'a port that the Service does not have is refused',
      service: service(family),
      endpoints: { a: ready },
      attempts: [
        { ...to('pod', cluster, 81), expect: 'refused' },
        { ...to('node', cluster, 81), expect: 'refused' },
      ],
    },
    {
      name: 'a pod that is its own endpoint reaches itself, from an address of the node',
      service: service(family),
      endpoints: { a: ready },
      attempts: [{ ...clusterIP('a'), expect: ['a'], sees: 'node' }],
    },
  ]
}

const outsideCases = (family: IPFamily): readonly Case[] => {
  const { external, balancer, clusterIP, port } = ways(family)
  return [
    {
      name: 'node port, external IP and load balancer address reach every endpoint, masqueraded',
      service: balancedService(family),
      endpoints: { a: ready, b: ready },
      attempts: [
        { ...port('outside'), expect: ['a', 'b'], sees: 'node' },
        { ...port('outside'), protocol: 'UDP', expect: ['a', 'b'], sees: 'node' },
        { ...port('pod'), expect: ['a', 'b'], sees: 'node' },
        { ...port('node'), expect: ['a', 'b'], sees: 'node' },
        { ...to('outside', external, 80), expect: ['a', 'b'], sees: 'node' },
        { ...to('outside', balancer, 80), expect: ['a', 'b'], sees: 'node' },
      ],
    },
    {
      name: 'a load balancer that works as a proxy is not cut short',
      service: {
        ...service(family, { type: 'LoadBalancer' }),
        status: { loadBalancer: { ingress: [{ ip: balancer, ipMode: 'Proxy' }] } },
      },
      endpoints: { a: ready },
      attempts: [{ ...port('outside'), expect: ['a'], sees: 'node' }],
    },
    {
      name: 'external policy Local keeps the source and stays on this node; pods and the node may go anywhere',
      service: balancedService(family, { externalTrafficPolicy: 'Local' }),
      endpoints: { a: ready, remote: ready },
      attempts: [
        { ...port('outside'), expect: ['a'], sees: 'client' },
        { ...to('outside', external, 80), expect: ['a'], sees: 'client' },
        { ...to('outside', balancer, 80), expect: ['a'], sees: 'client' },
        { ...to('pod', balancer, 80), expect: ['a', 'remote'], sees: 'client' },
        { ...to('node', balancer, 80), expect: ['a', 'remote'], sees: 'node' },
        { ...port('pod'), expect: ['a', 'remote'], sees: 'client' },
        { ...clusterIP('pod'), expect: ['a', 'remote'], sees: 'client' },
      ],
    },
    {
      name: 'external policy Local without an endpoint here drops what comes from outside',
      service: balancedService(family, { externalTrafficPolicy: 'Local' }),
      endpoints: { remote: ready },
      attempts: [
        { ...port('outside'), expect: 'dropped' },
        { ...to('outside', balancer, 80), expect: 'dropped' },
        { ...to('pod', balancer, 80), expect: ['remote'], sees: 'client' },
      ],
    },
  ]
}

const choiceCases = (family: IPFamily): readonly Case[] => {
  const { external, balancer, clusterIP, port } = ways(family)
  return [
    {
      name: 'internal policy Local stays on this node',
      service: service(family, { internalTrafficPolicy: 'Local' }),
      endpoints: { a: ready, remote: ready },
      attempts: [{ ...clusterIP('pod'), expect: ['a'], sees: 'client' }],
    },
    {
      name: 'internal policy Local without an endpoint here drops',
      service: service(family, { internalTrafficPolicy: 'Local' }),
      endpoints: { remote: ready },
      attempts: [{ ...clusterIP('pod'), expect: 'dropped' }],
    },
    {
      name: 'endpoints that terminate but still serve answer while nobody else does',
      service: service(family),
      endpoints: { a: leaving, b: broken },
      attempts: [{ ...clusterIP('pod'), expect: ['a'], sees: 'client' }],
    },
    {
      name: 'they get nothing new as soon as somebody is ready',
      service: service(family),
      endpoints: { a: leaving, b: ready },
      attempts: [{ ...clusterIP('pod'), expect: ['b'], sees: 'client' }],
    },
    {
      name: 'source ranges keep others out, on the balancer address and on the node port',
      service: balancedService(family, { loadBalancerSourceRanges: [addresses[family].podRange] }),
      endpoints: { a: ready },
      attempts: [
        { ...to('outside', balancer, 80), expect: 'dropped' },
        { ...port('outside'), expect: 'dropped' },
        { ...to('pod', balancer, 80), expect: ['a'], sees: 'node' },
        { ...to('outside', external, 80), expect: ['a'], sees: 'node' },
      ],
    },
  ]
}

const cases = (family: IPFamily): readonly Case[] => [...insideCases(family), ...outsideCases(family), ...choiceCases(family)]

const enough = 40

const check = async (t: Test, world: World, attempt: Case['attempts'][number]): Promise<void> => {
  const { expect, sees, from, to, port, protocol = 'TCP' } = attempt
  const what = `${from} to ${to} port ${port} by ${protocol}`
  if (typeof expect === 'string') {
    t.same(await world.send(attempt), expect, `${what} is ${expect}`)
    return
  }
  const reached = new Set<string>()
  for (let times = 0; times < enough && reached.size < expect.length; times++) {
    const outcome = await world.send(attempt)
    if (typeof outcome === 'string') return void t.fail(`${what} is ${outcome}`)
    if (sees !== undefined && outcome.sees !== sees) return void t.fail(`${what}: ${outcome.reached} sees the ${outcome.sees}`)
    reached.add(outcome.reached)
  }
  t.same([...reached].sort(), [...expect].sort(), `${what} reaches ${expect.join(', ')}`)
}

const remembers = async (t: Test, world: World, family: IPFamily): Promise<void> => {
  const { cluster, node } = addresses[family]
  const sticky: Partial<ServiceSpec> = {
    type: 'NodePort',
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
  }
  const whom = async (attempt: Attempt) => {
    const outcome = await world.send(attempt)
    return typeof outcome === 'string' ? outcome : outcome.reached
  }
  const toCluster: Attempt = { from: 'pod', to: cluster, port: 80 }
  await world.set([service(family, sticky)], [slice(family, { a: ready, b: ready, remote: ready })])
  const first = await whom(toCluster)
  for (let times = 0; times < 12; times++) t.equal(await whom(toCluster), first, 'the client stays with its endpoint')
  const byPort: Attempt = { from: 'outside', to: node, port: nodePort }
  const firstByPort = await whom(byPort)
  for (let times = 0; times < 12; times++) t.equal(await whom(byPort), firstByPort, 'so does one that comes by the node port')

  const others = (['a', 'b', 'remote'] as const).filter(endpoint => endpoint !== first)
  await world.set([service(family, sticky)], [slice(family, { [others[0]!]: ready, [first as Endpoint]: ready })])
  t.equal(await whom(toCluster), first, 'also when another endpoint goes')
  await world.set([service(family, sticky)], [slice(family, { [others[0]!]: ready, [others[1]!]: ready })])
  const next = await whom(toCluster)
  t.not(next, first, 'when its own endpoint goes, the client gets another one')
  for (let times = 0; times < 8; times++) t.equal(await whom(toCluster), next, 'and stays with that')
}

const changes = async (t: Test, world: World, family: IPFamily): Promise<void> => {
  const attempt: Attempt = { from: 'pod', to: addresses[family].cluster, port: 80 }
  const steps: readonly (readonly [readonly Endpoint[], string])[] = [
    [['a'], 'one endpoint'],
    [['a', 'b', 'remote'], 'two more'],
    [['b', 'remote'], 'the first one gone'],
    [['remote'], 'one left'],
    [['a', 'remote'], 'one back'],
  ]
  for (const [endpoints, what] of steps) {
    await world.set([service(family)], [slice(family, Object.fromEntries(endpoints.map(name => [name, ready])))])
    await t.test(what, t2 => check(t2, world, { ...attempt, expect: endpoints }))
  }
  await world.set([service(family)], [])
  t.equal(await world.send(attempt), 'refused', 'no slice left: refused')
  await world.set([], [])
  t.not(await world.send(attempt), 'refused', 'no Service left: nobody of ours answers')
}

/** Runs all cases in a world, one family. */
export const backendContract = async (t: Test, world: World, family: IPFamily): Promise<void> => {
  for (const one of cases(family))
    await t.test(one.name, async t2 => {
      await world.set([one.service], [slice(family, one.endpoints)])
      for (const attempt of one.attempts) await check(t2, world, attempt)
    })
  await t.test('a client with session affinity stays with its endpoint while that lives', t2 => remembers(t2, world, family))
  await t.test('endpoints come and go without the others noticing', t2 => changes(t2, world, family))
}
