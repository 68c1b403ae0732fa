import t from 'tap'
import type { ConfigMap, Pod, PodSpec, Secret } from '../../api/types.ts'
import { commonUser, payload } from './payload.ts'
import type { FileSource } from './plan.ts'

const configMap: ConfigMap = {
  metadata: { name: 'conf' },
  data: { color: 'blue', both: 'text' },
  binaryData: { raw: '/wA=', both: 'eA==' },
}
const secret: Secret = { metadata: { name: 'keys' }, data: { pass: 'cA==' } }
const podOf = (spec: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: 'web', namespace: 'shop', labels: { a: 'b' } },
  spec: { containers: [{ name: 'main', image: 'i' }], ...spec },
})
const filesOf = (sources: readonly FileSource[], pod = podOf()) =>
  payload({
    pod,
    action: { do: 'files', dir: '/d', tmpfs: undefined, defaultMode: 0o644, nested: [], sources },
    configMap: name => (name === 'conf' ? configMap : undefined),
    secret: name => (name === 'keys' ? secret : undefined),
    allocatable: { memory: '1Gi' },
    tokens: new Map([['token', 'jwt']]),
  })
const shown = (sources: readonly FileSource[], pod?: Pod) =>
  Object.fromEntries(
    [...filesOf(sources, pod)].map(([path, { content, mode }]) => [path, `${content.toString('latin1')} ${mode.toString(8)}`]),
  )
const conf = { from: 'configmap', name: 'conf', items: [], optional: false } as const
const keys = { from: 'secret', name: 'keys', items: [], optional: false } as const

for (const [name, sources, expected] of [
  ['all keys of a config map, text before bytes', [conf], { color: 'blue 644', both: 'text 644', raw: '\xff\x00 644' }],
  [
    'the keys that are asked for, where and with the mode that they should have',
    [
      {
        ...conf,
        items: [
          { key: 'color', path: 'x//y', mode: 0o600 },
          { key: 'raw', path: 'r' },
        ],
      },
    ],
    { 'x/y': 'blue 600', r: '\xff\x00 644' },
  ],
  ['a secret is decoded', [keys], { pass: 'p 644' }],
  [
    'what is optional may be missing',
    [
      { ...conf, name: 'no', optional: true },
      { ...keys, optional: true, items: [{ key: 'no', path: 'p' }] },
    ],
    {},
  ],
  [
    'fields and resources of the pod',
    [
      {
        from: 'downward',
        items: [
          { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' }, mode: 0o400 },
          { path: 'mem', resourceFieldRef: { containerName: 'main', resource: 'limits.memory', divisor: '1Mi' } },
        ],
      },
    ],
    { labels: 'a="b" 400', mem: '1024 644' },
  ],
  [
    'the later source wins',
    [conf, { from: 'downward', items: [{ path: 'color', fieldRef: { fieldPath: 'metadata.name' } }] }],
    { color: 'web 644', both: 'text 644', raw: '\xff\x00 644' },
  ],
  ['a token', [{ from: 'token', path: 'token', audience: '', expirationSeconds: 600 }], { token: 'jwt 644' }],
] as const)
  t.test(name, async t => {
    t.same(shown(sources), expected)
  })

const token = { from: 'token', path: 'token', audience: '', expirationSeconds: 600 } as const
t.test('a token is private where somebody is named who may read it', async t => {
  t.same(shown([token], podOf({ securityContext: { fsGroup: 5 } })), { token: 'jwt 600' })
  t.match(filesOf([token], podOf({ securityContext: { runAsUser: 7 } })).get('token'), { mode: 0o600, uid: 7 })
})

t.test('the user of a pod is the one that all its containers run as', async t => {
  const container = (runAsUser?: number) => ({
    name: 'c',
    image: 'i',
    ...(runAsUser !== undefined && { securityContext: { runAsUser } }),
  })
  t.equal(commonUser(podOf({ securityContext: { runAsUser: 7 } })), 7)
  t.equal(commonUser(podOf({ securityContext: { runAsUser: 7 }, containers: [container(8)], initContainers: [container(8)] })), 8)
  t.equal(commonUser(podOf({ containers: [container(8), container(9)] })), undefined)
  t.equal(commonUser(podOf({ containers: [container(8), container()] })), undefined)
})

for (const [sources, message] of [
  [[{ ...conf, name: 'no' }], 'configmap "no" not found'],
  [[{ ...keys, name: 'no' }], 'secret "no" not found'],
  [[{ ...conf, items: [{ key: 'no', path: 'p' }] }], 'configmap references non-existent config key: no'],
  [[{ ...keys, items: [{ key: 'no', path: 'p' }] }], 'references non-existent secret key: no'],
  [[{ ...conf, name: 'no' }, conf, { ...keys, name: 'no' }], '[configmap "no" not found, secret "no" not found]'],
  [
    [{ from: 'downward', items: [{ path: 'ip', fieldRef: { fieldPath: 'status.podIP' } }] }],
    'unsupported fieldPath: status.podIP',
  ],
  [[{ ...conf, items: [{ key: 'color', path: '../x' }] }], "invalid path: must not contain '..': ../x"],
  [[{ ...conf, items: [{ key: 'color', path: 'a/../../x' }] }], "invalid path: must not contain '..': a/../../x"],
  [[{ ...conf, items: [{ key: 'color', path: '..data' }] }], "invalid path: must not start with '..': ..data"],
  [[{ ...conf, items: [{ key: 'color', path: '/x' }] }], 'invalid path: must be relative path: /x'],
  [[{ ...conf, items: [{ key: 'color', path: '' }] }], 'invalid path: must not be empty: '],
  [[{ ...conf, items: [{ key: 'color', path: 'x'.repeat(256) }] }], /^invalid path: filenames must be less than or equal to 255/],
] as const)
  t.test(`refused: ${message}`, async t => {
    t.throws(() => filesOf(sources), { message })
  })
