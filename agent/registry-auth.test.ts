import t from 'tap'
import type { Secret } from '../api/types.ts'
import { credentialsFor } from './registry-auth.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')
const secret = (auths: object, name = 'regcred'): Secret => ({
  metadata: { name, namespace: 'default' },
  type: 'kubernetes.io/dockerconfigjson',
  data: { '.dockerconfigjson': base64(JSON.stringify({ auths })) },
})
const user = (name: string) => ({ auth: base64(`${name}:pass:word`) })
const users = (image: string, ...secrets: readonly Secret[]) => credentialsFor(image, secrets).map(it => it.username)

for (const [name, image, auths, expected] of [
  ['the registry itself', 'registry.example/a', { 'registry.example': user('u') }, ['u']],
  ['another registry', 'other.example/a', { 'registry.example': user('u') }, []],
  ['another port', 'registry.example:5000/a', { 'registry.example': user('u') }, []],
  ['with a scheme and an API version', 'registry.example/a', { 'https://registry.example/v2/': user('u') }, ['u']],
  [
    'a path, more specific first',
    'registry.example/team/a',
    { 'registry.example': user('all'), 'registry.example/team': user('team') },
    ['team', 'all'],
  ],
  ['a path of others', 'registry.example/mine/a', { 'registry.example/team': user('team') }, []],
  ['a star is one part of the host', 'a.example.com/x', { '*.example.com': user('u') }, ['u']],
  ['and not two', 'a.b.example.com/x', { '*.example.com': user('u') }, []],
  ['Docker Hub by its old name', 'busybox', { 'https://index.docker.io/v1/': user('hub') }, ['hub']],
  ['Docker Hub by its own', 'team/app', { 'docker.io': user('hub') }, ['hub']],
  ['a dot is a dot', 'registryXexample/a', { 'registry.example': user('u') }, []],
] as const) {
  t.test(name, async t => t.same(users(image, secret(auths)), expected))
}

t.test('user and password come from auth, or stand by themselves', async t => {
  t.same(credentialsFor('registry.example/a', [secret({ 'registry.example': user('u') })]), [
    { username: 'u', password: 'pass:word' },
  ])
  const plain = secret({ 'registry.example': { username: 'u', password: 'p' } })
  t.same(credentialsFor('registry.example/a', [plain]), [{ username: 'u', password: 'p' }])
})

t.test('the older kind of secret', async t => {
  const old: Secret = {
    metadata: { name: 'old' },
    type: 'kubernetes.io/dockercfg',
    data: { '.dockercfg': base64(JSON.stringify({ 'registry.example': user('u') })) },
  }
  t.same(users('registry.example/a', old), ['u'])
})

t.test('a secret of another type is left alone', async t =>
  t.same(users('registry.example/a', { ...secret({ 'registry.example': user('u') }), type: 'Opaque' }), []),
)

t.test('a secret that cannot be read is named and not quoted', async t => {
  const broken: Secret = { ...secret({}), data: { '.dockerconfigjson': base64('{"auths": hunter2') } }
  t.throws(() => credentialsFor('registry.example/a', [broken]), {
    code: 'image-pull',
    message: /default\/regcred cannot be used/,
  })
  t.throws(() => credentialsFor('registry.example/a', [broken]), { message: /^(?!.*hunter2)/ })
  const noColon = secret({ 'registry.example': { auth: base64('hunter2') } })
  t.throws(() => credentialsFor('registry.example/a', [noColon]), { message: /auth field/ })
})

t.test('what the node provides is tried after what the pod has, each by how specific it is', async t => {
  const own = secret({ 'registry.example': user('own') })
  const provided = [
    { key: 'registry.example', auth: { username: 'all' } },
    { key: 'registry.example/team', auth: { username: 'team' } },
    { key: 'other.example', auth: { username: 'other' } },
  ]
  const found = credentialsFor('registry.example/team/app', [own], provided)
  t.same(
    found.map(it => it.username),
    ['own', 'team', 'all'],
  )
})
