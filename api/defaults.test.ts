import t from 'tap'
import { defaultConfigMap, defaultPod, defaultSecret, defaultService, imageTag } from './defaults.ts'
import type { ServiceSpec } from './service-types.ts'
import type { Container, Pod, PodSpec, Volume } from './types.ts'

const metadata = { name: 'web' }
const pod = (container: Partial<Container> = {}, spec: Partial<PodSpec> = {}): Pod => ({
  metadata,
  spec: { containers: [{ name: 'main', image: 'web:1', ...container }], ...spec },
})
const firstContainer = (given: Pod): Container => defaultPod(given).spec.containers[0]!

for (const [image, tag] of [
  ['web', 'latest'],
  ['web:latest', 'latest'],
  ['web:1.2', '1.2'],
  ['registry.local:5000/web', 'latest'],
  ['registry.local:5000/web:3', '3'],
  ['web@sha256:abc', ''],
  ['web:1@sha256:abc', '1'],
] as const) {
  t.test(`the tag of ${image} is "${tag}"`, async t => t.equal(imageTag(image), tag))
}

for (const [name, given, expected] of [
  ['an image of a fixed tag is pulled when it is not there', { image: 'web:1' }, { imagePullPolicy: 'IfNotPresent' }],
  ['an image of no tag is pulled always', { image: 'web' }, { imagePullPolicy: 'Always' }],
  ['a digest needs no second pull', { image: 'web@sha256:abc' }, { imagePullPolicy: 'IfNotPresent' }],
  ['a given pull policy stays', { image: 'web', imagePullPolicy: 'Never' }, { imagePullPolicy: 'Never' }],
  ['the termination message is a file', {}, { terminationMessagePath: '/dev/termination-log', terminationMessagePolicy: 'File' }],
  ['a port is TCP', { ports: [{ containerPort: 80 }] }, { ports: [{ containerPort: 80, protocol: 'TCP' }] }],
  [
    'a request that is not given is the limit',
    { resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '100m' } } },
    { resources: { requests: { cpu: '100m', memory: '1Gi' } } },
  ],
  [
    'amounts are rounded up to thousandths',
    { resources: { limits: { cpu: '1500u' } } },
    { resources: { limits: { cpu: '2m' } } },
  ],
  [
    'a probe has its timing, its path and its scheme',
    { livenessProbe: { httpGet: { port: 80 } } },
    {
      livenessProbe: {
        httpGet: { port: 80, path: '/', scheme: 'HTTP' },
        timeoutSeconds: 1,
        periodSeconds: 10,
        successThreshold: 1,
        failureThreshold: 3,
      },
    },
  ],
  [
    'a zero in a probe counts as not given',
    { startupProbe: { grpc: { port: 1 }, periodSeconds: 0 } },
    { startupProbe: { periodSeconds: 10, grpc: { service: '' } } },
  ],
  [
    'a hook gets path and scheme too',
    { lifecycle: { preStop: { httpGet: { port: 1 } } } },
    { lifecycle: { preStop: { httpGet: { path: '/' } } } },
  ],
  [
    'a field reference is of v1',
    { env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] },
    { env: [{ valueFrom: { fieldRef: { apiVersion: 'v1' } } }] },
  ],
] as const) {
  t.test(name, async t => t.match(firstContainer(pod(given as Partial<Container>)), expected))
}

t.test('a pod has its policies', async t => {
  t.match(defaultPod(pod()).spec, {
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    terminationGracePeriodSeconds: 30,
    securityContext: {},
    enableServiceLinks: true,
  })
})

t.test('a grace period of zero stays zero', async t => {
  t.equal(defaultPod(pod({}, { terminationGracePeriodSeconds: 0 })).spec.terminationGracePeriodSeconds, 0)
})

t.test('in the host network every port is a host port, of init containers too', async t => {
  const ports = [{ containerPort: 80 }, { containerPort: 81, hostPort: 8081 }]
  const { spec } = defaultPod(pod({ ports }, { hostNetwork: true, initContainers: [{ name: 'i', image: 'i:1', ports }] }))
  for (const container of [spec.containers[0]!, spec.initContainers![0]!]) {
    t.match(container.ports, [{ hostPort: 80 }, { hostPort: 8081 }])
  }
  t.notOk('hostPort' in firstContainer(pod({ ports })).ports![0]!)
})

for (const [name, given, expected] of [
  ['a volume of no source is an empty directory', {}, { emptyDir: {} }],
  ['a hostPath has the empty type', { hostPath: { path: '/x' } }, { hostPath: { type: '' } }],
  ['a configMap has mode 0644', { configMap: { name: 'c' } }, { configMap: { defaultMode: 0o644 } }],
  ['a secret too', { secret: { secretName: 's' } }, { secret: { defaultMode: 0o644 } }],
  ['a mode of 0 stays', { secret: { secretName: 's', defaultMode: 0 } }, { secret: { defaultMode: 0 } }],
  [
    'a downwardAPI too, and its references are of v1',
    { downwardAPI: { items: [{ path: 'a', fieldRef: { fieldPath: 'metadata.name' } }] } },
    { downwardAPI: { defaultMode: 0o644, items: [{ fieldRef: { apiVersion: 'v1' } }] } },
  ],
  [
    'a projected token lives for an hour',
    { projected: { sources: [{ serviceAccountToken: { path: 't' } }] } },
    { projected: { defaultMode: 0o644, sources: [{ serviceAccountToken: { expirationSeconds: 3600 } }] } },
  ],
] as const) {
  t.test(name, async t =>
    t.match(defaultPod(pod({}, { volumes: [{ name: 'v', ...given } as Volume] })).spec.volumes![0], expected),
  )
}

t.test('pod-level requests follow the containers, then the limits', async t => {
  const given = pod(
    { resources: { requests: { cpu: '100m' } } },
    {
      resources: { limits: { cpu: '1', memory: '1Gi' } },
      initContainers: [
        { name: 'sidecar', image: 's:1', restartPolicy: 'Always', resources: { requests: { cpu: '50m' } } },
        { name: 'init', image: 'i:1', resources: { requests: { cpu: '300m' } } },
      ],
    },
  )
  t.same(defaultPod(given).spec.resources, { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '350m', memory: '1Gi' } })
})

t.test('pod-level huge pages limits follow the containers', async t => {
  const huge = pod({ resources: { limits: { 'hugepages-2Mi': '4Mi' } } }, { resources: { requests: { cpu: '1' } } })
  t.match(defaultPod(huge).spec.resources, { limits: { 'hugepages-2Mi': '4Mi' }, requests: { cpu: '1', 'hugepages-2Mi': '4Mi' } })
})

t.test('defaulting twice changes nothing more', async t => {
  const once = defaultPod(
    pod(
      { livenessProbe: { httpGet: { port: 80 } }, ports: [{ containerPort: 80 }], resources: { limits: { cpu: '1.5' } } },
      { hostNetwork: true, volumes: [{ name: 'v' }, { name: 'p', projected: {} }] },
    ),
  )
  t.same(defaultPod(once), once)
})

for (const [name, given, expected] of [
  [
    'a Service is a ClusterIP without affinity',
    { ports: [{ port: 80 }] },
    {
      type: 'ClusterIP',
      sessionAffinity: 'None',
      internalTrafficPolicy: 'Cluster',
      ports: [{ port: 80, targetPort: 80, protocol: 'TCP' }],
    },
  ],
  ['a named target port stays', { ports: [{ port: 80, targetPort: 'http' }] }, { ports: [{ targetPort: 'http' }] }],
  [
    'client affinity lasts three hours',
    { sessionAffinity: 'ClientIP' },
    { sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } } },
  ],
  ['a NodePort takes traffic from outside', { type: 'NodePort' }, { externalTrafficPolicy: 'Cluster' }],
  ['so do external addresses', { externalIPs: ['192.0.2.1'] }, { externalTrafficPolicy: 'Cluster' }],
  [
    'a LoadBalancer has node ports',
    { type: 'LoadBalancer' },
    { allocateLoadBalancerNodePorts: true, externalTrafficPolicy: 'Cluster' },
  ],
] as const) {
  t.test(name, async t => t.match(defaultService({ metadata, spec: given as ServiceSpec }).spec, expected))
}

t.test('an ExternalName has no traffic policy, a ClusterIP no external one, no affinity no timeout', async t => {
  t.notOk('internalTrafficPolicy' in defaultService({ metadata, spec: { type: 'ExternalName', externalName: 'x' } }).spec)
  const { spec } = defaultService({ metadata, spec: { sessionAffinityConfig: { clientIP: { timeoutSeconds: 5 } } } })
  t.notOk('externalTrafficPolicy' in spec)
  t.notOk('sessionAffinityConfig' in spec)
})

t.test('stringData is written over data, and is gone', async t => {
  const secret = defaultSecret({ metadata, data: { a: 'b2xk', b: 'Yg==' }, stringData: { a: 'néw' } })
  t.same(secret, { metadata, type: 'Opaque', data: { a: Buffer.from('néw').toString('base64'), b: 'Yg==' } })
})

t.test('a ConfigMap has data', async t => t.same(defaultConfigMap({ metadata }).data, {}))
