import t from 'tap'
import type { Service } from '../api/service-types.ts'
import { createStore } from '../api/source.ts'
import type { ConfigMap, Container, Pod, Secret } from '../api/types.ts'
import { type EnvInput, envFileKey, makeEnv } from './env.ts'
import { envFileValue } from './env-file.ts'

const configMaps = createStore<ConfigMap>()
configMaps.put({
  metadata: { namespace: 'shop', name: 'conf' },
  data: { COLOR: 'blue', 'with.dot': 'd' },
  binaryData: { BIN: 'AA==' },
})
const secrets = createStore<Secret>()
secrets.put({ metadata: { namespace: 'shop', name: 'keys' }, data: { TOKEN: 'czNjcmV0', RAW: '/wD+' } })

const service = (namespace: string, name: string, clusterIP: string, ports: NonNullable<Service['spec']['ports']>): Service => ({
  metadata: { namespace, name },
  spec: { clusterIP, ports },
})
const services = [
  service('default', 'kubernetes', '10.96.0.1', [{ name: 'https', port: 443 }]),
  service('shop', 'cart-api', '10.96.0.7', [
    { name: 'http-web', port: 80 },
    { name: 'dns', port: 53, protocol: 'UDP' },
  ]),
  service('shop', 'six', 'fd00::7', [{ port: 8080 }]),
  service('shop', 'headless', 'None', [{ port: 80 }]),
  service('other', 'hidden', '10.96.0.9', [{ port: 80 }]),
]

const inputOf = (container: Partial<Container>, more: Partial<EnvInput> = {}): EnvInput => {
  const main = { name: 'main', image: 'i', ...container }
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'shop', uid: 'u' },
    spec: {
      containers: [main],
      enableServiceLinks: false,
      volumes: [
        { name: 'env', emptyDir: {} },
        { name: 'etc', hostPath: { path: '/etc' } },
      ],
    },
  }
  const base = { pod, container: main, configMaps, secrets, services: [], allocatable: { cpu: '2', memory: '1Gi' } }
  return { ...base, podIPs: ['10.1.0.5'], hostIPs: ['192.0.2.1'], ...more }
}
const textEnv = (input: EnvInput): Record<string, string> =>
  Object.fromEntries(makeEnv(input).map(({ key, value }) => [key, Buffer.from(value).toString()]))
const container = (given: Partial<Container>) => given

for (const [name, given, expected] of [
  ['literal values come as they are', container({ env: [{ name: 'A', value: 'x' }, { name: 'NONE' }] }), { A: 'x', NONE: '' }],
  [
    'a value refers to variables before it, not to those after it',
    container({
      env: [
        { name: 'B', value: '$(A)' },
        { name: 'A', value: 'x' },
        { name: 'C', value: '$(A)$$(A)' },
      ],
    }),
    { B: '$(A)', A: 'x', C: 'x$(A)' },
  ],
  [
    'envFrom gives every key of data, with its prefix',
    container({ envFrom: [{ prefix: 'P_', configMapRef: { name: 'conf' } }] }),
    { P_COLOR: 'blue', 'P_with.dot': 'd' },
  ],
  [
    'the later envFrom wins, and env wins over both',
    container({
      envFrom: [{ configMapRef: { name: 'conf' } }, { prefix: 'with.', configMapRef: { name: 'conf' } }],
      env: [{ name: 'COLOR', value: 'not $(COLOR)' }],
    }),
    { COLOR: 'not blue', 'with.dot': 'd', 'with.COLOR': 'blue', 'with.with.dot': 'd' },
  ],
  [
    'a secret is decoded',
    container({ env: [{ name: 'T', valueFrom: { secretKeyRef: { name: 'keys', key: 'TOKEN' } } }] }),
    { T: 's3cret' },
  ],
  [
    'a key of a config map',
    container({ env: [{ name: 'C', valueFrom: { configMapKeyRef: { name: 'conf', key: 'COLOR' } } }] }),
    { C: 'blue' },
  ],
  [
    'what is optional and missing is left out',
    container({
      envFrom: [{ configMapRef: { name: 'no', optional: true } }, { secretRef: { name: 'no', optional: true } }],
      env: [
        { name: 'A', valueFrom: { configMapKeyRef: { name: 'conf', key: 'no', optional: true } } },
        { name: 'B', valueFrom: { secretKeyRef: { name: 'no', key: 'no', optional: true } } },
        { name: 'C', valueFrom: { fileKeyRef: { volumeName: 'env', path: 'no', key: 'no', optional: true } } },
      ],
    }),
    {},
  ],
  [
    'fields of the pod',
    container({
      env: [
        { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
        { name: 'URL', value: 'http://$(IP)' },
      ],
    }),
    { IP: '10.1.0.5', URL: 'http://10.1.0.5' },
  ],
  [
    "resources of the container, the node's where it sets none",
    container({ env: [{ name: 'M', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } }] }),
    { M: '1024' },
  ],
] as const)
  t.test(name, async t => {
    t.same(textEnv(inputOf(given)), expected)
  })

for (const [name, given, message] of [
  ['a config map', container({ envFrom: [{ configMapRef: { name: 'no' } }] }), 'configmap "no" not found'],
  ['a secret', container({ envFrom: [{ secretRef: { name: 'no' } }] }), 'secret "no" not found'],
  [
    'the config map of a key',
    container({ env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'no', key: 'k' } } }] }),
    'configmap "no" not found',
  ],
  [
    'a key of a config map',
    container({ env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'conf', key: 'k' } } }] }),
    "couldn't find key k in ConfigMap shop/conf",
  ],
  [
    'binary data of a config map',
    container({ env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'conf', key: 'BIN' } } }] }),
    "couldn't find key BIN in ConfigMap shop/conf",
  ],
  [
    'a key of a secret',
    container({ env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'keys', key: 'k' } } }] }),
    "couldn't find key k in Secret shop/keys",
  ],
  [
    'the volume of a file',
    container({ env: [{ name: 'A', valueFrom: { fileKeyRef: { volumeName: 'no', path: 'f', key: 'k' } } }] }),
    'cannot find the volume "no" referenced by FileKeyRef',
  ],
  [
    'a file',
    container({ env: [{ name: 'A', valueFrom: { fileKeyRef: { volumeName: 'env', path: 'f', key: 'k' } } }] }),
    'couldn\'t parse env file: f is not in volume "env"',
  ],
  [
    'an emptyDir',
    container({ env: [{ name: 'A', valueFrom: { fileKeyRef: { volumeName: 'etc', path: 'f', key: 'k' } } }] }),
    'the volume "etc" referenced by FileKeyRef is no emptyDir',
  ],
] as const)
  t.test(`${name} that is needed and missing keeps the container from starting, in the kubelet's words`, async t => {
    t.throws(() => makeEnv(inputOf(given)), { message, code: 'container-config', reason: 'CreateContainerConfigError' })
  })

t.test('bytes of a secret that are no text arrive unchanged, also through a reference', async t => {
  const env = makeEnv(inputOf({ envFrom: [{ secretRef: { name: 'keys' } }], env: [{ name: 'AGAIN', value: 'ü$(RAW)' }] }))
  t.same(Buffer.from(env.find(({ key }) => key === 'AGAIN')?.value ?? []), Buffer.from([0xc3, 0xbc, 0xff, 0x00, 0xfe]))
})

t.test('keys that cannot be the name of a variable are left out with a warning', async t => {
  const warnings: string[] = []
  const env = textEnv(
    inputOf({ envFrom: [{ prefix: 'a=', configMapRef: { name: 'conf' } }] }, { warn: message => warnings.push(message) }),
  )
  t.same(env, {})
  t.match(warnings, [/Keys \[a=COLOR, a=with.dot\] from the EnvFrom configmap shop\/conf were skipped/])
})

t.test('a key of a file in an emptyDir', async t => {
  const files = new Map([[envFileKey('env', 'out/vars'), "A='1'\nB='two'\n"]])
  const given = container({ env: [{ name: 'X', valueFrom: { fileKeyRef: { volumeName: 'env', path: 'out/vars', key: 'B' } } }] })
  t.same(textEnv(inputOf(given, { files })), { X: 'two' })
})

t.test('Services', async t => {
  const linked = (enableServiceLinks: boolean | undefined, env: Container['env'] = []) => {
    const input = inputOf({ env }, { services })
    const { enableServiceLinks: _, ...spec } = input.pod.spec
    return textEnv({
      ...input,
      pod: { ...input.pod, spec: enableServiceLinks === undefined ? spec : { ...spec, enableServiceLinks } },
    })
  }
  const master = {
    KUBERNETES_SERVICE_HOST: '10.96.0.1',
    KUBERNETES_SERVICE_PORT: '443',
    KUBERNETES_SERVICE_PORT_HTTPS: '443',
    KUBERNETES_PORT: 'tcp://10.96.0.1:443',
    KUBERNETES_PORT_443_TCP: 'tcp://10.96.0.1:443',
    KUBERNETES_PORT_443_TCP_PROTO: 'tcp',
    KUBERNETES_PORT_443_TCP_PORT: '443',
    KUBERNETES_PORT_443_TCP_ADDR: '10.96.0.1',
  }
  t.same(linked(false), master, "a pod without service links still learns where the apiserver's Service is")
  const all = linked(undefined)
  t.match(all, {
    ...master,
    CART_API_SERVICE_HOST: '10.96.0.7',
    CART_API_SERVICE_PORT: '80',
    CART_API_SERVICE_PORT_HTTP_WEB: '80',
    CART_API_SERVICE_PORT_DNS: '53',
    CART_API_PORT: 'tcp://10.96.0.7:80',
    CART_API_PORT_53_UDP: 'udp://10.96.0.7:53',
    CART_API_PORT_53_UDP_PROTO: 'udp',
    SIX_PORT: 'tcp://[fd00::7]:8080',
    SIX_SERVICE_HOST: 'fd00::7',
  })
  t.notOk(
    Object.keys(all).some(name => /^(HEADLESS|HIDDEN)_/.test(name)),
    'none of headless ones and other namespaces',
  )
  t.equal(linked(true, [{ name: 'SIX_PORT', value: 'mine' }])['SIX_PORT'], 'mine', "the container's own value wins")
  t.equal(
    linked(true, [{ name: 'URL', value: 'http://$(SIX_SERVICE_HOST)' }])['URL'],
    'http://fd00::7',
    'values can refer to them',
  )
})

for (const [name, content, expected] of [
  ['white space before the name is passed over', "  \tK='v'", 'v'],
  ['comments and empty lines are passed over', "# K='no'\n\n   \nK='v' # yes", 'v'],
  ['a value can span lines', "A='1'\nK='one\ntwo'\n", 'one\ntwo'],
  ['nothing inside the quotes is special', "K='$X \\n # \"'", '$X \\n # "'],
  ['white space after = makes an empty value', "K= 'v'", ''],
  ['the first one counts', "K='1'\nK='2'", '1'],
  ['lines after it are not looked at', "K='1'\nbroken", '1'],
  ['lines of Windows', "A='1'\r\nK='2'\r\n", '2'],
  ['a name inside a value is none', "A='\nK='\n", undefined],
] as const)
  t.test(`an env file: ${name}`, async t => {
    t.equal(envFileValue(content, 'K'), expected)
  })

for (const [content, message] of [
  ['K', "couldn't parse env file: line 1: missing '='"],
  ["\nK ='v'", "couldn't parse env file: line 2: whitespace before '=' is not allowed"],
  ["='v'", "couldn't parse env file: line 1: empty variable name"],
  ['K=v', "couldn't parse env file: line 1: value must be enclosed in single quotes"],
  ["A='1'\nK='v\nw", "couldn't parse env file: line 2: unclosed single quote"],
  ["K='v'w", "couldn't parse env file: line 1: unexpected content after closing quote"],
] as const)
  t.test(`an env file is refused: ${message}`, async t => {
    t.throws(() => envFileValue(content, 'K'), { message, reason: 'CreateContainerConfigError' })
  })
