// What a kubeconfig may say, and what is answered to one that is wrong: the file, the field, and what would be right.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { readKubeconfig } from './kubeconfig.ts'

const folder = await mkdtemp(join(tmpdir(), 'nlt-kubeconfig-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const path = join(folder, 'kubelet.conf')

// What is in the blocks is not looked at here.
const certificate = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'
const key = '-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n'
const base64 = (text: string) => Buffer.from(text).toString('base64')
await writeFile(join(folder, 'both.pem'), certificate + key)
await writeFile(join(folder, 'ca.crt'), certificate)
await writeFile(join(folder, 'token'), ' from-file\n')
await writeFile(join(folder, 'empty'), '')

interface Parts {
  readonly user?: object
  readonly cluster?: object
  readonly context?: object
  readonly top?: object
}
const server = 'https://10.0.0.1:6443'
const config = ({ user = { token: 't' }, cluster = { server }, context = { cluster: 'c', user: 'u' }, top = {} }: Parts) =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'x',
    contexts: [{ name: 'x', context }],
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user }],
    ...top,
  })
const read = async (parts: Parts) => {
  await writeFile(path, config(parts))
  return readKubeconfig(path)
}

for (const [name, given, expected] of [
  ['a token', { user: { token: 't' } }, { token: 't', server, insecure: false }],
  ['a token in a file, which wins', { user: { token: 't', tokenFile: 'token' } }, { token: 'from-file' }],
  [
    'certificate and key in one file beside the kubeconfig',
    { user: { 'client-certificate': 'both.pem', 'client-key': 'both.pem' } },
    { certificate: { from: join(folder, 'both.pem') }, key: { pem: certificate + key } },
  ],
  [
    'certificate and key inline, which win over files',
    { user: { 'client-certificate-data': base64(certificate), 'client-certificate': 'none', 'client-key-data': base64(key) } },
    {
      certificate: { pem: certificate, from: /users\["u"\]\.user\.client-certificate-data of .*kubelet\.conf/ },
      key: { pem: key },
    },
  ],
  [
    'a CA in a file',
    { cluster: { server, 'certificate-authority': 'ca.crt' } },
    { ca: { pem: certificate, from: join(folder, 'ca.crt') } },
  ],
  ['no verification', { cluster: { server, 'insecure-skip-tls-verify': true } }, { insecure: true }],
  [
    'another name to verify',
    { cluster: { server: `${server}/`, 'tls-server-name': 'kubernetes' } },
    { server, serverName: 'kubernetes' },
  ],
  [
    'a program that gives credentials',
    {
      user: {
        exec: { apiVersion: 'client.authentication.k8s.io/v1', command: './get', args: ['a'], env: [{ name: 'N', value: 'v' }] },
      },
    },
    { exec: { argv: [join(folder, 'get'), 'a'], env: { N: 'v' }, provideClusterInfo: false } },
  ],
] as const)
  t.test(`understood: ${name}`, async t => t.match(await read(given), expected))

t.test('every file that was read is named, to be looked at for changes', async t => {
  const user = { 'client-certificate': 'both.pem', 'client-key': 'both.pem' }
  const { files } = await read({ user, cluster: { server, 'certificate-authority': 'ca.crt' } })
  t.same(files, [path, ...['ca.crt', 'both.pem', 'both.pem'].map(name => join(folder, name))])
})

for (const [name, given, expected] of [
  [
    'no user in the context',
    { context: { cluster: 'c' } },
    /kubelet\.conf: contexts\["x"\]\.context\.user is missing: name one of the users/,
  ],
  [
    'a user that is not there',
    { context: { cluster: 'c', user: 'node' } },
    /users has "u" only: contexts\["x"\]\.context names "node"/,
  ],
  ['no users at all', { top: { users: null } }, /users is empty: .* names "u"/],
  ['a user without credentials', { user: {} }, /users\["u"\]\.user\.client-certificate is missing: a user needs/],
  ['no current context', { top: { 'current-context': '' } }, /current-context is missing/],
  ['a context that is not there', { top: { 'current-context': 'y' } }, /contexts has "x" only: current-context names "y"/],
  ['no server', { cluster: {} }, /clusters\["c"\]\.cluster\.server is missing/],
  ['a server that is no address', { cluster: { server: '10.0.0.1' } }, /server is "10\.0\.0\.1": it must be an address/],
  ['a proxy', { cluster: { server, 'proxy-url': 'http://p' } }, /proxy-url is "http:\/\/p"/],
  [
    'a CA file that is not there',
    { cluster: { server, 'certificate-authority': '/none/ca' } },
    /certificate-authority names \/none\/ca, which cannot be read \(ENOENT\)/,
  ],
  [
    'a CA that is none',
    { cluster: { server, 'certificate-authority-data': base64('hello') } },
    /certificate-authority-data holds no such thing: a PEM block "BEGIN CERTIFICATE"/,
  ],
  [
    'a certificate without a key',
    { user: { 'client-certificate': 'both.pem' } },
    /client-key is missing beside client-certificate/,
  ],
  [
    'a CA and no verification',
    { cluster: { server, 'certificate-authority': 'ca.crt', 'insecure-skip-tls-verify': true } },
    /take one of the two out/,
  ],
  ['a flag that is a word', { cluster: { server, 'insecure-skip-tls-verify': 'yes' } }, /is "yes": it must be true or false/],
  ['a password', { user: { username: 'a', password: 'b' } }, /username is not understood/],
  ['an empty token file', { user: { tokenFile: 'empty' } }, /tokenFile names empty, which is empty/],
  [
    'a program of an old protocol',
    { user: { exec: { apiVersion: 'v1alpha1', command: 'x' } } },
    /exec\.apiVersion is "v1alpha1"/,
  ],
  [
    'a program that wants a terminal',
    { user: { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: 'x', interactiveMode: 'Always' } } },
    /interactiveMode is "Always"/,
  ],
  ['another kind', { top: { kind: 'Pod' } }, /kind is "Pod": it must be "Config"/],
] as const)
  t.test(`refused: ${name}`, async t => t.rejects(read(given), { code: 'bad-config', message: expected }))

t.test('a file that is not there is named', t =>
  t.rejects(readKubeconfig(join(folder, 'none')), { code: 'bad-config', message: /none: there is no such file; --kubeconfig/ }),
)
t.test('a file that is no YAML is named', async t => {
  await writeFile(path, 'a: [')
  await t.rejects(readKubeconfig(path), { code: 'bad-config', message: /the file is not YAML/ })
})
