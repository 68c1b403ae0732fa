import t from 'tap'
import type { PodStatus } from '../../api/pod-status.ts'
import type { EndpointSlice, Service, ServiceSpec } from '../../api/service-types.ts'
import type { Pod, PodSpec } from '../../api/types.ts'
import { maxEndpointsPerSlice, selects, slicesOf } from './slices.ts'

const place = { nodeName: 'node-1' }

const service = (spec: ServiceSpec = {}): Service => ({
  metadata: { name: 'web', namespace: 'default', uid: 'svc-uid', labels: { team: 'a' } },
  spec: {
    selector: { app: 'web' },
    clusterIP: '10.96.1.1',
    ipFamilies: ['IPv4'],
    ports: [{ name: 'http', port: 80, protocol: 'TCP', targetPort: 8080 }],
    ...spec,
  },
})

const status = (ip: string, ready = true, more: Partial<PodStatus> = {}): PodStatus => ({
  phase: 'Running',
  podIPs: [{ ip }],
  conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
  ...more,
})

const pod = (name: string, live: PodStatus, more: Partial<PodSpec> = {}, deleted = false): Pod => ({
  metadata: {
    name,
    namespace: 'default',
    uid: `uid-${name}`,
    labels: { app: 'web' },
    ...(deleted && { deletionTimestamp: 'now' }),
  },
  spec: { containers: [{ name: 'c', image: 'i' }], ...more },
  status: live,
})

const flat = (slices: readonly EndpointSlice[]) =>
  slices.flatMap(({ addressType, endpoints, ports }) =>
    endpoints.map(({ addresses, conditions }) => {
      const { ready, serving, terminating } = conditions ?? {}
      const marks = [ready && 'ready', serving && 'serving', terminating && 'terminating'].filter(Boolean).join('+')
      return `${addressType} ${addresses.join()} ${ports.map(({ name, port }) => `${name}=${port}`).join()} ${marks}`.trim()
    }),
  )

const onPort = (containerPort: number, protocol: 'TCP' | 'UDP' = 'TCP'): Partial<PodSpec> => ({
  containers: [{ name: 'c', image: 'i', ports: [{ name: 'web', containerPort, protocol }] }],
})

const named = service({ ports: [{ name: 'http', port: 80, protocol: 'TCP', targetPort: 'web' }] })
const both = status('10.0.0.1', true, { podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00:0::1' }] })

for (const [name, svc, pods, expected] of [
  ['a ready pod is a ready endpoint', service(), [pod('a', status('10.0.0.1'))], ['IPv4 10.0.0.1 http=8080 ready+serving']],
  [
    'one that is not ready is told, but neither ready nor serving',
    service(),
    [pod('a', status('10.0.0.1', false))],
    ['IPv4 10.0.0.1 http=8080'],
  ],
  [
    'publishNotReadyAddresses makes it ready, not serving',
    service({ publishNotReadyAddresses: true }),
    [pod('a', status('10.0.0.1', false))],
    ['IPv4 10.0.0.1 http=8080 ready'],
  ],
  [
    'a terminating pod that still serves is no longer ready',
    service(),
    [pod('a', status('10.0.0.1'), {}, true)],
    ['IPv4 10.0.0.1 http=8080 serving+terminating'],
  ],
  ['a pod without an address is left out', service(), [pod('a', { phase: 'Pending' })], []],
  ['a pod that has succeeded is left out', service(), [pod('a', status('10.0.0.1', true, { phase: 'Succeeded' }))], []],
  ['a pod that has failed is left out', service(), [pod('a', status('10.0.0.1', false, { phase: 'Failed' }))], []],
  ['podIP alone will do', service(), [pod('a', { phase: 'Running', podIP: '10.0.0.9' })], ['IPv4 10.0.0.9 http=8080']],
  [
    'a pod in the host network has the address of the host',
    service(),
    [pod('a', status('192.168.0.2'), { hostNetwork: true })],
    ['IPv4 192.168.0.2 http=8080 ready+serving'],
  ],
  [
    'a named port is the number that each pod gives it, each number in a slice of its own',
    named,
    [pod('a', status('10.0.0.1'), onPort(8081)), pod('b', status('10.0.0.2'), onPort(8082))],
    ['IPv4 10.0.0.1 http=8081 ready+serving', 'IPv4 10.0.0.2 http=8082 ready+serving'],
  ],
  [
    'a named port of another protocol is not it',
    named,
    [pod('a', status('10.0.0.1'), onPort(8081, 'UDP'))],
    ['IPv4 10.0.0.1  ready+serving'],
  ],
  [
    'a named port of a sidecar counts',
    named,
    [
      pod('a', status('10.0.0.1'), {
        initContainers: [{ name: 's', image: 'i', restartPolicy: 'Always', ports: [{ name: 'web', containerPort: 9000 }] }],
      }),
    ],
    ['IPv4 10.0.0.1 http=9000 ready+serving'],
  ],
  [
    'a named port of an init container that ends does not',
    named,
    [
      pod('a', status('10.0.0.1'), {
        initContainers: [{ name: 's', image: 'i', ports: [{ name: 'web', containerPort: 9000 }] }],
      }),
    ],
    ['IPv4 10.0.0.1  ready+serving'],
  ],
  [
    'dual-stack gives a slice for each family, addresses in canonical form',
    service({ ipFamilies: ['IPv4', 'IPv6'] }),
    [pod('a', both)],
    ['IPv4 10.0.0.1 http=8080 ready+serving', 'IPv6 fd00::1 http=8080 ready+serving'],
  ],
  [
    'only the families of the Service are told',
    service({ ipFamilies: ['IPv6'] }),
    [pod('a', both)],
    ['IPv6 fd00::1 http=8080 ready+serving'],
  ],
  [
    'a headless Service without ports has endpoints all the same',
    service({ clusterIP: 'None', ports: [] }),
    [pod('a', status('10.0.0.1'))],
    ['IPv4 10.0.0.1  ready+serving'],
  ],
  ['a Service without a selector gets none', service({ selector: {} }), [pod('a', status('10.0.0.1'))], []],
  ['one of type ExternalName gets none', service({ type: 'ExternalName' }), [pod('a', status('10.0.0.1'))], []],
] as const)
  t.test(name, async t => t.same(flat(slicesOf(svc, pods, [], place)), expected))

t.test('an endpoint says where it is and what it is', async t => {
  const [slice] = slicesOf(service(), [pod('a', status('10.0.0.1'), { hostname: 'h', subdomain: 'web' })], [], {
    ...place,
    zone: 'z',
  })
  t.match(slice?.endpoints[0], {
    hostname: 'h',
    nodeName: 'node-1',
    zone: 'z',
    targetRef: { kind: 'Pod', namespace: 'default', name: 'a', uid: 'uid-a' },
  })
  t.match(slice?.metadata, {
    namespace: 'default',
    labels: { team: 'a', 'kubernetes.io/service-name': 'web' },
    ownerReferences: [{ kind: 'Service', name: 'web', uid: 'svc-uid' }],
  })
  const [other] = slicesOf(
    service(),
    [pod('a', status('10.0.0.1'), { hostname: 'h', subdomain: 'db', nodeName: 'n2' })],
    [],
    place,
  )
  t.equal(other?.endpoints[0]?.hostname, undefined, 'a hostname counts only under the subdomain of this Service')
  t.equal(other?.endpoints[0]?.nodeName, 'n2')
})

t.test('a Service without endpoints has one empty slice of each family', async t => {
  const slices = slicesOf(service({ ipFamilies: ['IPv4', 'IPv6'] }), [], [], place)
  t.same(
    slices.map(({ addressType, endpoints }) => [addressType, endpoints.length]),
    [
      ['IPv4', 0],
      ['IPv6', 0],
    ],
  )
})

t.test('what has not changed is the identical object', async t => {
  const pods = [pod('a', status('10.0.0.1')), pod('b', status('10.0.0.2'), onPort(8080))]
  const first = slicesOf(service(), pods, [], place)
  t.equal(
    slicesOf(
      service(),
      pods.map(it => ({ ...it })),
      first,
      place,
    )[0],
    first[0],
  )
  const second = slicesOf(service(), [pods[0]!, pod('b', status('10.0.0.2', false))], first, place)
  t.not(second[0], first[0])
  t.equal(second[0]?.metadata.name, first[0]?.metadata.name, 'the name stays')
  t.equal(second[0]?.endpoints[0], first[0]?.endpoints[0], 'the endpoint that has not changed is the same')
})

t.test('a slice has at most 100 endpoints, and one that goes leaves the others where they are', async t => {
  const pods = Array.from({ length: 250 }, (_, index) => pod(`p${index}`, status(`10.0.${index >> 8}.${index & 255}`)))
  const first = slicesOf(service(), pods, [], place)
  t.same(
    first.map(slice => slice.endpoints.length),
    [maxEndpointsPerSlice, maxEndpointsPerSlice, 50],
  )
  t.equal(new Set(first.map(slice => slice.metadata.name)).size, 3)
  const second = slicesOf(service(), pods.slice(1), first, place)
  t.same(
    second.map(slice => slice.endpoints.length),
    [99, 100, 50],
  )
  t.same(second.slice(1), first.slice(1))
  t.equal(second[1], first[1])
  const third = slicesOf(service(), pods.slice(200), second, place)
  t.equal(third.length, 1)
  t.equal(third[0], first[2], 'slices that emptied are gone, the last one stays as it was')
})

for (const [name, selector, labels, expected] of [
  ['all pairs must be there', { a: '1', b: '2' }, { a: '1', b: '2', c: '3' }, true],
  ['one that is missing is enough to refuse', { a: '1', b: '2' }, { a: '1' }, false],
  ['an empty selector selects nothing', {}, { a: '1' }, false],
  ['no selector selects nothing', undefined, { a: '1' }, false],
] as const)
  t.test(name, async t => t.equal(selects(selector, labels), expected))
