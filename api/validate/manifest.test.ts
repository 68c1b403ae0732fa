// What a folder may hold: whole manifests that are taken, what every kind has in common, Services, ConfigMaps and Secrets.
// Pods have pod.test.ts.
import t from 'tap'
import { parse } from 'yaml'
import type { Pod } from '../types.ts'
import { areProblems, pod, problemsOf, service } from './manifest.fake.ts'
import { identityOf, readManifest } from './manifest.ts'

for (const [name, given] of [
  ['a pod of one container', pod('')],
  ['a pod with nulls where something could be', pod('command: null, ports: null', 'volumes:\nnodeSelector: {disk: null}')],
  [
    'what kubectl prints',
    pod(
      'resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]',
      'serviceAccount: default\nstatus: null',
      'managedFields: [], selfLink: x',
    ),
  ],
  [
    'a pod that uses everything',
    pod(
      'ports: [{containerPort: 80, name: http}, {containerPort: 80, protocol: UDP, name: dns}], ' +
        'env: [{name: A-1.b, value: x}, {name: B, valueFrom: {fieldRef: {fieldPath: "metadata.labels[\'app\']"}}}, ' +
        '{name: C, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}, {name: D, valueFrom: {secretKeyRef: {name: s, key: k}}}], ' +
        'envFrom: [{prefix: P_, configMapRef: {name: c}}], ' +
        'volumeMounts: [{name: tmp, mountPath: /tmp, subPath: a/b}, {name: all, mountPath: /all, readOnly: true, recursiveReadOnly: IfPossible}], ' +
        'resources: {limits: {memory: 1Gi, cpu: 1.5, hugepages-2Mi: 4Mi, example.com/gpu: 1}, requests: {cpu: 100m}}, ' +
        'livenessProbe: {httpGet: {port: http, httpHeaders: [{name: X-A, value: b}]}}, readinessProbe: {grpc: {port: 9}, successThreshold: 2}, ' +
        'lifecycle: {preStop: {sleep: {seconds: 5}}, postStart: {exec: {command: [a]}}}, ' +
        'securityContext: {runAsUser: 0, capabilities: {add: [NET_ADMIN]}, seccompProfile: {type: Localhost, localhostProfile: a.json}}',
      `restartPolicy: OnFailure
initContainers: [{name: side, image: s, restartPolicy: Always, startupProbe: {tcpSocket: {port: 1}}}, {name: init, image: i}]
volumes:
- {name: tmp}
- {name: all, projected: {sources: [{configMap: {name: c}}, {downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}]}}]}}
- {name: host, hostPath: {path: /dev, type: Directory}}
dnsPolicy: None
dnsConfig: {nameservers: [1.1.1.1], searches: [_tcp.example.com, .], options: [{name: ndots, value: '2'}]}
hostAliases: [{ip: 10.0.0.1, hostnames: [a.b]}]
tolerations: [{operator: Exists}]
affinity: {}`,
    ),
  ],
  ['a Service', service('selector: {app: web}, ports: [{port: 80, targetPort: http}]')],
  ['a headless Service without ports', service('clusterIP: None')],
  [
    'a dual-stack Service',
    service("ports: [{port: 80}], clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1'], ipFamilies: [IPv4, IPv6]"),
  ],
  ['an ExternalName', service('type: ExternalName, externalName: example.com.')],
  [
    'a ConfigMap',
    parse('{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a.b: x, empty: null}, binaryData: {bin: AAE=}}'),
  ],
  ['a Secret', parse('{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: Yg==}, stringData: {b: plain}}')],
] as const) {
  t.test(`${name} is taken`, async t => t.same(problemsOf(given), []))
}

t.test('what is taken has its defaults and no nulls', async t => {
  const { manifest } = readManifest(pod('command: null', 'nodeSelector: {disk: null}')) as Extract<
    ReturnType<typeof readManifest>,
    { manifest: object }
  >
  t.match(manifest, { kind: 'Pod', object: { spec: { restartPolicy: 'Always', nodeSelector: { disk: '' } } } })
  t.notOk('command' in (manifest.object as Pod).spec.containers[0]!)
})

areProblems(t, [
  ['no mapping', [1], ['[1]: want a mapping with apiVersion, kind and metadata']],
  ['no kind', { apiVersion: 'v1' }, ['kind: required: one of Pod, Service, ConfigMap, Secret']],
  [
    'a mistyped kind',
    { apiVersion: 'v1', kind: 'pod' },
    ['kind: "pod": not a kind that this node takes from a folder; did you mean "Pod"?'],
  ],
  [
    'a kind that needs a control plane',
    { apiVersion: 'apps/v1', kind: 'StatefulSet' },
    [/"StatefulSet": not a kind .* a folder holds Pod, Service, ConfigMap, Secret$/],
  ],
  ['a wrong apiVersion', { apiVersion: 'v2', kind: 'Pod' }, ['apiVersion: "v2": want v1']],
  [
    'an unknown field, with the one that was meant',
    pod('imagee: x'),
    ['spec.containers[0].imagee: "x": unknown field; did you mean "image"?'],
  ],
  ['all unknown fields at once', pod('aaaaa: 1, bbbbb: 2', 'ccccc: 3'), [/aaaaa: 1: unknown field$/, /bbbbb/, /^spec.ccccc/]],
  ['a field of the wrong kind', pod('command: ls'), ['spec.containers[0].command: "ls": want a list']],
  [
    'a number for a text',
    pod('env: [{name: A, value: 8080}]'),
    ['spec.containers[0].env[0].value: 8080: want a string, not the number; write it in quotes'],
  ],
  [
    'a text for a number',
    pod('ports: [{containerPort: "80"}]'),
    ['spec.containers[0].ports[0].containerPort: "80": want a whole number'],
  ],
  ['a text for a flag', pod('', 'hostNetwork: "yes"'), ['spec.hostNetwork: "yes": want true or false']],
  ['a missing name', parse('{apiVersion: v1, kind: Pod, metadata: {}, spec: {containers: []}}'), ['metadata.name: required']],
  [
    'a missing image',
    parse('{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}'),
    ['spec.containers[0].image: required'],
  ],
  [
    'no containers',
    parse('{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}'),
    ['spec.containers: []: want at least one container'],
  ],
  [
    'a value out of a choice',
    pod('', 'restartPolicy: Sometimes'),
    ['spec.restartPolicy: "Sometimes": want one of Always, OnFailure, Never'],
  ],
  [
    'a bad name',
    parse('{apiVersion: v1, kind: Pod, metadata: {name: Web_1}, spec: {containers: [{name: a, image: b}]}}'),
    [/^metadata.name: "Web_1": want a DNS name/],
  ],
  [
    'a bad label',
    pod('', '', 'labels: {a/b/c: x, app: -x}'),
    [/metadata.labels\[a\/b\/c\]: "x": the key "a\/b\/c": want/, /metadata.labels.app: "-x": want a label value/],
  ],
  [
    'a key that is none',
    parse('{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a/b: x}}'),
    [/data\[a\/b\]: the key "a\/b": want a key/],
  ],
  [
    'a key twice',
    parse('{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: x}, binaryData: {a: AAE=}}'),
    ['data.a: also in binaryData: want a key once'],
  ],
  [
    'binary data that is text',
    parse('{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, binaryData: {a: "no!"}}'),
    ['binaryData.a: want base64; plain text belongs into data'],
  ],
  [
    'a TLS Secret without key',
    parse('{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: s}, stringData: {tls.crt: x}}'),
    [/data\[tls.key\]: required in a Secret of type kubernetes.io\/tls/],
  ],
  ['a Service without ports', service('selector: {a: b}'), ['spec.ports: want at least one port']],
  [
    'unnamed ports of a Service with several',
    service('ports: [{port: 1}, {port: 2, name: b}]'),
    ['spec.ports[0].name: required'],
  ],
  [
    'two ports of one number',
    service('ports: [{port: 1, name: a}, {port: 1, name: b}]'),
    ['spec.ports[1].port: 1: already used by spec.ports[0].port'],
  ],
  [
    'a node port twice',
    service('type: NodePort, ports: [{port: 1, name: a, nodePort: 30000}, {port: 2, name: b, nodePort: 30000}]'),
    [/nodePort: 30000: already used/],
  ],
  ['a node port of a ClusterIP', service('ports: [{port: 1, nodePort: 30000}]'), [/needs type: NodePort or LoadBalancer/]],
  ['a target port out of range', service('ports: [{port: 1, targetPort: 70000}]'), [/targetPort: 70000: want a port/]],
  [
    'a cluster address that is none',
    service('ports: [{port: 1}], clusterIP: 10.96.0'),
    ['spec.clusterIP: "10.96.0": want an IPv4 or IPv6 address, or None'],
  ],
  [
    'addresses of one family',
    service('ports: [{port: 1}], clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 10.0.0.2]'),
    [/at most one address of each family/],
  ],
  [
    'a family that does not fit',
    service('ports: [{port: 1}], clusterIP: 10.0.0.1, ipFamilies: [IPv6]'),
    [/want an IPv6 address/],
  ],
  [
    'a headless NodePort',
    service('ports: [{port: 1}], type: NodePort, clusterIP: None'),
    [/a headless Service is of type: ClusterIP/],
  ],
  [
    'an external policy of a ClusterIP',
    service('ports: [{port: 1}], externalTrafficPolicy: Local'),
    [/needs type: NodePort or LoadBalancer, or externalIPs/],
  ],
  [
    'an external address on loopback',
    service('ports: [{port: 1}], externalIPs: [127.0.0.1]'),
    [/an address that others can reach/],
  ],
  [
    'an affinity of more than a day',
    service('ports: [{port: 1}], sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 90000}}'),
    [/want 1 to 86400/],
  ],
  ['an ExternalName without name', service('type: ExternalName'), ['spec.externalName: required']],
  [
    'source ranges of a ClusterIP',
    service('ports: [{port: 1}], loadBalancerSourceRanges: [10.0.0.0/8]'),
    [/needs type: LoadBalancer/],
  ],
])

t.test('the value of a Secret is never repeated', async t => {
  const wrong = parse('{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: hunter2!, b: 12345}}')
  t.same(problemsOf(wrong), ['data.b: want a string, not the number; write it in quotes'])
  t.same(problemsOf({ ...(wrong as object), data: { a: 'hunter2!' } }), [
    'data.a: want base64; plain text belongs into stringData',
  ])
})

t.test('the identity of a broken document can still be read', async t => {
  t.same(identityOf(pod('imagee: x')), { kind: 'Pod', namespace: 'default', name: 'web' })
  for (const broken of [null, [], {}, { kind: 'Pod' }, { kind: 'Pod', metadata: {} }, { kind: 'X', metadata: { name: 'a' } }])
    t.equal(identityOf(broken), undefined)
})
