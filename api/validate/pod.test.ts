// What a pod cannot say, field by field, as an apiserver would refuse it.
import t from 'tap'
import { areProblems, pod } from './manifest.fake.ts'

const volume = (source: string) => pod('', `volumes: [{name: v, ${source}}]`)
const mount = (fields: string) => pod(`volumeMounts: [{name: v, ${fields}}]`, 'volumes: [{name: v, emptyDir: {}}]')
const resources = (fields: string) => pod(`resources: {${fields}}`)

areProblems(t, [
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
      'spec.volumes[0].persistentVolumeClaim: claims are bound by a control plane; supported are emptyDir, hostPath, configMap, secret, downwardAPI, projected, nfs',
    ],
  ],
  ['an nfs volume of a relative path', volume('nfs: {server: a, path: b}'), [/nfs.path: "b": want an absolute path/]],
  ['a CSI volume', volume('csi: {driver: d, volumeAttributes: {a: b}}'), [/CSI drivers are not supported yet/]],
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
])
