// The health check ports of load balancers: who has one, how many endpoints it tells of, and the servers themselves on loopback.
import { createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { silentLog } from '../../host/log.ts'
import type { ServiceChange } from '../changes.ts'
import { createNodePortChecks, toCheckAnswer, toHealthCheck } from './node-port-checks.ts'

const nodeName = 'a'
const service = (port: number, spec: Partial<Service['spec']> = {}): Service => ({
  metadata: { namespace: 'n', name: 'web' },
  spec: {
    ...{ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: port, clusterIP: '10.96.0.1' },
    ...{ clusterIPs: ['10.96.0.1'], ipFamilies: ['IPv4'], ports: [{ port: 80, protocol: 'TCP' }] },
    ...spec,
  },
})

type Endpoint = NonNullable<EndpointSlice['endpoints']>[number]
const endpoint = (address: string, more: Partial<Endpoint> = {}): Endpoint => ({ addresses: [address], nodeName, ...more })
const slice = (endpoints: readonly Endpoint[], addressType: 'IPv4' | 'IPv6' = 'IPv4'): EndpointSlice => ({
  ...{ metadata: { namespace: 'n', name: 'web-1' }, addressType, ports: [{ port: 80, protocol: 'TCP' }] },
  endpoints: [...endpoints],
})

for (const [name, given, slices, expected] of [
  ['a Service that is gone has none', undefined, [], undefined],
  ['one of policy Cluster has none', service(30_000, { externalTrafficPolicy: 'Cluster' }), [], undefined],
  ['a node port without a load balancer has none', service(30_000, { type: 'NodePort' }), [], undefined],
  ['without endpoints it says 0', service(30_000), [], { port: 30_000, local: { IPv4: 0 } }],
  [
    'ready endpoints of this node count, each once',
    service(30_000),
    [slice([endpoint('10.0.0.1'), endpoint('10.0.0.2', { conditions: { ready: true } })]), slice([endpoint('10.0.0.1')])],
    { port: 30_000, local: { IPv4: 2 } },
  ],
  [
    'those of other nodes, and those that serve on at their end, do not',
    service(30_000),
    [
      slice([
        endpoint('10.0.0.1', { nodeName: 'b' }),
        endpoint('10.0.0.2', { conditions: { ready: false, serving: true, terminating: true } }),
      ]),
    ],
    { port: 30_000, local: { IPv4: 0 } },
  ],
  [
    'each family counts its own',
    service(30_000, { clusterIPs: ['10.96.0.1', 'fd00::1'], ipFamilies: ['IPv4', 'IPv6'] }),
    [slice([endpoint('10.0.0.1')]), slice([endpoint('fd00::1'), endpoint('fd00::2')], 'IPv6')],
    { port: 30_000, local: { IPv4: 1, IPv6: 2 } },
  ],
] as const)
  t.test(`who: ${name}`, async t => t.same(toHealthCheck(given, slices, nodeName), expected))

t.test("the answer is kube-proxy's, to the byte", async t => {
  t.same(toCheckAnswer('n/web', 2, true), {
    ...{ status: 200, type: 'application/json', headers: { 'X-Load-Balancing-Endpoint-Weight': '2' } },
    body: '{\n\t"service": {\n\t\t"namespace": "n",\n\t\t"name": "web"\n\t},\n\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}',
  })
  t.equal(toCheckAnswer('n/web', 0, true).status, 503, 'nobody is here')
  t.equal(toCheckAnswer('n/web', 2, false).status, 503, 'the proxy is late')
})

const freePort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

/** The number of endpoints that a port tells of, or the error's code. */
const ask = (port: number): Promise<number | string> =>
  new Promise(resolve => {
    const request = get({ host: '127.0.0.1', port, agent: false }, async response =>
      resolve((JSON.parse(await text(response)) as { localEndpoints: number }).localEndpoints),
    )
    request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'))
  })

const nothing = { service: undefined, slices: [] }
const change = (after: Service | undefined, slices: readonly EndpointSlice[] = [], key = 'n/web'): ServiceChange => ({
  ...{ key, before: nothing, after: { service: after, slices } },
})

const begin = (t: { teardown(run: () => Promise<void>): unknown }) => {
  const refused: string[] = []
  const checks = createNodePortChecks({
    ...{ nodeName, addresses: family => (family === 'IPv4' ? ['127.0.0.1'] : []), isHealthy: () => true, log: silentLog },
    onRefused: key => refused.push(key),
  })
  t.teardown(checks.close)
  return { checks, refused }
}

t.test('a port is open while its Service has it, and tells what is true at the moment', async t => {
  const { checks } = begin(t)
  const [port, other] = [await freePort(), await freePort()]
  await checks.take([change(service(port), [slice([endpoint('10.0.0.1')])])])
  t.equal(await ask(port), 1)
  await checks.take([change(service(port), [slice([endpoint('10.0.0.1'), endpoint('10.0.0.2')])])])
  t.equal(await ask(port), 2)
  await checks.take([change(service(other))])
  t.equal(await ask(port), 'ECONNREFUSED', 'the Service has another one')
  t.equal(await ask(other), 0)
  await checks.take([change(undefined)])
  t.equal(await ask(other), 'ECONNREFUSED')
})

t.test('within one round a port may go from one Service to another', async t => {
  const { checks, refused } = begin(t)
  const port = await freePort()
  await checks.take([change(service(port), [], 'n/old')])
  await checks.take([change(service(port), [slice([endpoint('10.0.0.1')])], 'n/new'), change(undefined, [], 'n/old')])
  t.equal(await ask(port), 1)
  t.same(refused, [])
})

t.test('a port that another program has is told of once, and taken when it is free', async t => {
  const { checks, refused } = begin(t)
  const squatter = createServer()
  await new Promise<void>(resolve => squatter.listen(0, '127.0.0.1', resolve))
  const { port } = squatter.address() as AddressInfo
  await checks.take([change(service(port))])
  await checks.take([change(service(port), [slice([endpoint('10.0.0.1')])])])
  t.same(refused, ['n/web'])
  await new Promise(resolve => squatter.close(resolve))
  await checks.take([change(undefined, [], 'n/any')])
  t.equal(await ask(port), 1)
})
