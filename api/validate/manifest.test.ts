import t from 'tap'
import { parse } from 'yaml'
import type { Pod } from '../types.ts'
import { identityOf, readManifest } from './manifest.ts'
import { configKey, dnsLabel, dnsSubdomain, environmentName, isCidr, labelValue, portName, qualifiedName } from './names.ts'
import { nearest } from './nearest.ts'
import { describeProblem, join, stepsOf } from './problem.ts'

const problemsOf = (value: unknown): readonly string[] => (readManifest(value).problems ?? []).map(describeProblem)

/** A pod whose only container and whose spec have these fields besides. */
const pod = (container: string, spec = '', metadata = ''): unknown =>
  parse(`
apiVersion: v1
kind: Pod
metadata: {name: web${metadata && `, ${metadata}`}}
spec:
  containers: [{name: main, image: 'web:1'${container && `, ${container}`}}]
${spec
  .split('\n')
  .map(line => `  ${line}`)
  .join('\n')}
`)
const service = (spec: string): unknown => parse(`{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {${spec}}}`)

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

const volume = (source: string) => pod('', `volumes: [{name: v, ${source}}]`)
const mount = (fields: string) => pod(`volumeMounts: [{name: v, ${fields}}]`, 'volumes: [{name: v, emptyDir: {}}]')
const resources = (fields: string) => pod(`resources: {${fields}}`)

for (const [name, given, expected] of [
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
    'two containers of one name',
    pod('', 'initContainers: [{name: main, image: i}]'),
    ['spec.initContainers[0].name: "main": already used by spec.containers[0].name'],
  ],
  [
    'a bad container name',
    pod('', 'initContainers: [{name: a.b, image: i}]'),
    [/spec.initContainers\[0\].name: "a.b": want a DNS label/],
  ],
  [
    'two ports of one name',
    pod('ports: [{containerPort: 1, name: a}, {containerPort: 2, name: a}]'),
    ['spec.containers[0].ports[1].name: "a": already used by spec.containers[0].ports[0].name'],
  ],
  ['a port name without letters', pod("ports: [{containerPort: 1, name: '80'}]"), [/ports\[0\].name: "80": want a port name/]],
  ['a port out of range', pod('ports: [{containerPort: 70000}]'), [/70000: want a port from 1 to 65535/]],
  [
    'two host ports',
    pod('ports: [{containerPort: 1, hostPort: 80}, {containerPort: 2, hostPort: 80}]'),
    [/ports\[1\].hostPort: 80: already used by spec.containers\[0\].ports\[0\].hostPort/],
  ],
  [
    'a host port that differs in the host network',
    pod('ports: [{containerPort: 1, hostPort: 2}]', 'hostNetwork: true'),
    [/hostPort: 2: want 1, the containerPort/],
  ],
  [
    'a bad host address',
    pod('ports: [{containerPort: 1, hostPort: 1, hostIP: 1.2.3}]'),
    [/hostIP: "1.2.3": want an IPv4 or IPv6 address/],
  ],
  [
    'a mount of no volume',
    pod('volumeMounts: [{name: x, mountPath: /x}]'),
    ['spec.containers[0].volumeMounts[0].name: "x": no volume of this name in spec.volumes'],
  ],
  [
    'two mounts at one path',
    pod('volumeMounts: [{name: v, mountPath: /x}, {name: v, mountPath: /x}]', 'volumes: [{name: v}]'),
    [/volumeMounts\[1\].mountPath: "\/x": already used/],
  ],
  [
    'a subPath that climbs',
    mount('mountPath: /x, subPath: a/../..'),
    [/subPath: "a\/..\/..": want a relative path without '..'/],
  ],
  ['an absolute subPath', mount('mountPath: /x, subPath: /etc'), [/subPath: "\/etc": want a relative path/]],
  ['both subPaths', mount('mountPath: /x, subPath: a, subPathExpr: b'), [/want only one of subPath, subPathExpr/]],
  [
    'propagation without privilege',
    mount('mountPath: /x, mountPropagation: Bidirectional'),
    [/needs securityContext.privileged: true/],
  ],
  ['recursive read-only of a writable mount', mount('mountPath: /x, recursiveReadOnly: Enabled'), [/needs readOnly: true/]],
  ['a block device', pod('volumeDevices: [{name: d, devicePath: /dev/x}]'), [/block devices come from persistentVolumeClaims/]],
  [
    'two volumes of one name',
    pod('', 'volumes: [{name: v}, {name: v}]'),
    ['spec.volumes[1].name: "v": already used by spec.volumes[0].name'],
  ],
  [
    'a volume of two kinds',
    volume('emptyDir: {}, hostPath: {path: /x}'),
    ['spec.volumes[0]: want only one of emptyDir, hostPath'],
  ],
  [
    'a claim',
    volume('persistentVolumeClaim: {claimName: c}'),
    [
      'spec.volumes[0].persistentVolumeClaim: claims are bound by a control plane; supported are emptyDir, hostPath, configMap, secret, downwardAPI, projected',
    ],
  ],
  ['an nfs volume', volume('nfs: {server: a, path: /}'), [/NFS is not supported yet; mount it on the host and use hostPath/]],
  ['an unknown volume kind', volume('emptydir: {}'), ['spec.volumes[0].emptydir: {}: unknown field; did you mean "emptyDir"?']],
  ['a hostPath that climbs', volume('hostPath: {path: /a/../b}'), [/want a path without '..'/]],
  ['a hostPath type that is none', volume('hostPath: {path: /a, type: Folder}'), [/want one of .*DirectoryOrCreate/]],
  ['a file mode out of range', volume('secret: {secretName: s, defaultMode: 512}'), [/defaultMode: 512: want a file mode/]],
  [
    'two files at one path',
    volume('configMap: {name: c, items: [{key: a, path: x}, {key: b, path: x}]}'),
    [/items\[1\].path: "x": already used/],
  ],
  ['a file that climbs', volume('configMap: {name: c, items: [{key: a, path: ../x}]}'), [/want a relative path/]],
  [
    'a token',
    volume('projected: {sources: [{serviceAccountToken: {path: t}}]}'),
    [
      'spec.volumes[0].projected.sources[0].serviceAccountToken: not possible here: tokens are issued by an apiserver, and this node runs without one',
    ],
  ],
  [
    'a projected source of two kinds',
    volume('projected: {sources: [{configMap: {name: a}, secret: {name: b}}]}'),
    [/want only one of configMap, secret: a list entry each/],
  ],
  [
    'a downward file of no container',
    volume('downwardAPI: {items: [{path: a, resourceFieldRef: {containerName: x, resource: limits.cpu}}]}'),
    [/containerName: "x": want the name of a container/],
  ],
  [
    'a field that the downward API has not',
    pod('env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.replicas}}}]'),
    [/fieldPath: "spec.replicas": want one of metadata.name/],
  ],
  [
    'a divisor that cannot be',
    pod('env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1Mi}}}]'),
    [/divisor: "1Mi": want one of 1, 1m/],
  ],
  ['a variable of no source', pod('env: [{name: A, valueFrom: {}}]'), [/valueFrom: want one of fieldRef/]],
  [
    'a variable of two sources',
    pod('env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}, secretKeyRef: {name: a, key: b}}}]'),
    [/want only one of fieldRef, secretKeyRef/],
  ],
  [
    'a variable with value and source',
    pod('env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]'),
    [/want either value or valueFrom/],
  ],
  ['a variable with = in its name', pod('env: [{name: A=B}]'), [/env\[0\].name: "A=B": want a name/]],
  ['envFrom of nothing', pod('envFrom: [{prefix: A}]'), [/want one of configMapRef, secretRef/]],
  [
    'a quantity that is none',
    resources('limits: {cpu: 1x}'),
    ['spec.containers[0].resources.limits.cpu: "1x": want a quantity such as 500m, 2 or 1.5Gi'],
  ],
  [
    'a request above its limit',
    resources('limits: {cpu: 1}, requests: {cpu: 1100m}'),
    ['spec.containers[0].resources.requests.cpu: "1100m": want at most the limit of 1'],
  ],
  [
    'huge pages of two amounts',
    resources('limits: {cpu: 1, hugepages-2Mi: 4Mi}, requests: {hugepages-2Mi: 2Mi}'),
    [/want the same amount as the limit of 4Mi/],
  ],
  [
    'half a huge page',
    resources('limits: {cpu: 1, hugepages-2Mi: 3Mi}'),
    [/want a multiple of the page size 2Mi/, /want a multiple/],
  ],
  ['huge pages alone', resources('limits: {hugepages-2Mi: 4Mi}'), [/huge pages need a request or limit of cpu or memory/]],
  ['an extended resource without limit', resources('requests: {example.com/gpu: 1}'), [/want a limit of example.com\/gpu too/]],
  ['an unknown resource', resources('limits: {gpu: 1}'), [/limits.gpu: want cpu, memory/, /requests.gpu/]],
  ['a negative amount', resources('requests: {cpu: -1}'), [/want an amount of at least 0/]],
  [
    'a pod that asks for less than its containers',
    pod('resources: {requests: {cpu: 2}}', 'resources: {requests: {cpu: 1}}'),
    [/spec.resources.requests.cpu: 1: want at least the 2/],
  ],
  [
    'a container with more than its pod',
    pod('resources: {limits: {memory: 2Gi}, requests: {memory: 0}}', 'resources: {limits: {memory: 1Gi}}'),
    [/want at most the pod's limit of 1Gi/],
  ],
  [
    'a probe of no kind',
    pod('livenessProbe: {periodSeconds: 1}'),
    ['spec.containers[0].livenessProbe: want one of exec, httpGet, tcpSocket, grpc'],
  ],
  [
    'a probe of two kinds',
    pod('livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}'),
    [/want only one of exec, tcpSocket/],
  ],
  [
    'a liveness probe of two successes',
    pod('livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}'),
    [/want 1: a liveness probe needs one success/],
  ],
  [
    'a readiness probe with a grace period',
    pod('readinessProbe: {tcpSocket: {port: 1}, terminationGracePeriodSeconds: 2}'),
    [/a readiness probe never ends its container/],
  ],
  [
    'a negative probe period',
    pod('startupProbe: {tcpSocket: {port: 1}, periodSeconds: -1}'),
    [/periodSeconds: -1: want a number of at least 0/],
  ],
  ['a probe of a port that is none', pod('startupProbe: {httpGet: {port: 0}}'), [/port: 0: want a port/]],
  ['a probe without command', pod('startupProbe: {exec: {command: []}}'), [/want at least the name of a program/]],
  [
    'a hook that sleeps too long',
    pod('lifecycle: {preStop: {sleep: {seconds: 31}}}'),
    [/want 0 to the pod's terminationGracePeriodSeconds \(30\)/],
  ],
  ['a stop signal without an OS', pod('lifecycle: {stopSignal: SIGINT}'), [/needs spec.os.name: linux/]],
  ['a stop signal that is none', pod('lifecycle: {stopSignal: INT}', 'os: {name: linux}'), [/"INT": want a signal/]],
  [
    'a probe of an init container',
    pod('', 'initContainers: [{name: i, image: i, livenessProbe: {tcpSocket: {port: 1}}}]'),
    ['spec.initContainers[0].livenessProbe: an init container has none unless its restartPolicy is Always'],
  ],
  [
    'restart rules without policy',
    pod('restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]'),
    [/restartPolicy: required with restartPolicyRules/],
  ],
  [
    'privileged without escalation',
    pod('securityContext: {privileged: true, allowPrivilegeEscalation: false}'),
    [/cannot be false in a privileged container/],
  ],
  [
    'a seccomp profile that is not Localhost',
    pod('securityContext: {seccompProfile: {type: RuntimeDefault, localhostProfile: a}}'),
    [/only with type: Localhost/],
  ],
  ['a negative user', pod('securityContext: {runAsUser: -1}'), [/runAsUser: -1: want a number from 0/]],
  [
    'a sysctl given twice',
    pod('', 'securityContext: {sysctls: [{name: net.a, value: "1"}, {name: net/a, value: "1"}]}'),
    [/already used/],
  ],
  [
    'a network sysctl in the host network',
    pod('', 'hostNetwork: true\nsecurityContext: {sysctls: [{name: net.a, value: "1"}]}'),
    [/cannot be set in the host's network namespace/],
  ],
  [
    'both process namespaces',
    pod('', 'hostPID: true\nshareProcessNamespace: true'),
    [/want only one of shareProcessNamespace, hostPID/],
  ],
  ['no nameserver with None', pod('', 'dnsPolicy: None'), [/want at least one with dnsPolicy: None/]],
  ['a negative grace period', pod('', 'terminationGracePeriodSeconds: -1'), [/want a number of at least 0/]],
  ['ephemeral containers', pod('', 'ephemeralContainers: []'), [/added to a running pod/]],
  ['resource claims', pod('', 'resourceClaims: [{name: a}]'), [/need a control plane/]],
  ['a windows pod', pod('', 'os: {name: windows}'), [/this node runs Linux/]],
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
] as [string, unknown, (string | RegExp)[]][]) {
  t.test(`${name} is a problem`, async t => {
    const found = problemsOf(given)
    t.match(found, expected, { diffContext: 5 })
    t.equal(found.length, expected.length, found.join('\n'))
  })
}

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

for (const [name, form, right, wrong] of [
  ['a DNS label', dnsLabel, ['a', 'a-1', 'a'.repeat(63)], ['', '-a', 'a.b', 'A', 'a'.repeat(64)]],
  ['a DNS name', dnsSubdomain, ['a.b-c.d'], ['a..b', '.a', 'a_b', 'a'.repeat(254)]],
  ['a label value', labelValue, ['', 'A_b.c-1'], ['-a', 'a b', 'a'.repeat(64)]],
  ['a label key', qualifiedName, ['app', 'example.com/App_1'], ['', '/a', 'a/', 'a/b/c', 'Example.com/a']],
  ['a key of a ConfigMap', configKey, ['a.b-c_D', '.a'], ['', '..', '..a', 'a/b']],
  ['a port name', portName, ['http', 'a-1', 'x'.repeat(15)], ['', '80', 'a--b', '-a', 'a-', 'x'.repeat(16)]],
  ['an environment name', environmentName, ['A', 'a.b-c', '1'], ['', 'a=b', 'ä']],
] as const) {
  t.test(`${name} is told from what is none`, async t => {
    for (const text of right) t.ok(form.ok(text), text)
    for (const text of wrong) t.notOk(form.ok(text), text)
  })
}

t.test('a range has an address and a length that fits', async t => {
  for (const text of ['10.0.0.0/8', 'fd00::/108', '0.0.0.0/0']) t.ok(isCidr(text), text)
  for (const text of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', '10.0.0/8', '/8', '10.0.0.0/8/8', '10.0.0.0/'])
    t.notOk(isCidr(text), text)
})

t.test('paths can be taken apart again', async t => {
  for (const steps of [
    ['spec', 'containers', 0, 'name'],
    ['metadata', 'labels', 'a.b/c'],
    ['data', 'x'],
  ] as const) {
    t.same(stepsOf(steps.reduce<string>(join, '')), steps)
  }
})

t.test('the nearest word is close', async t => {
  t.equal(nearest('imagee', ['image', 'images']), 'image')
  t.equal(nearest('emptydir', ['emptyDir', 'hostPath']), 'emptyDir')
  t.equal(nearest('zzz', ['image']), undefined)
})
