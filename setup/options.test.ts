import t from 'tap'
import { doctorOptions, installOptions, uninstallOptions } from './options.ts'

const token = 'abcdef.0123456789abcdef'
const hash = `sha256:${'0a'.repeat(32)}`
const byToken = ['--join', '10.0.0.1:6443', '--token', token, '--discovery-token-ca-cert-hash', hash]

t.test('what installs', async t => {
  t.same(installOptions([]), { timeoutMs: 300_000 })
  t.same(installOptions(byToken), {
    join: { by: 'token', server: '10.0.0.1:6443', token, caHashes: [hash] },
    timeoutMs: 300_000,
  })
  t.same(installOptions(['--join', '--bootstrap-kubeconfig', '/k', '--node-name', 'n1', '--timeout', '5']), {
    join: { by: 'file', file: '/k' },
    nodeName: 'n1',
    timeoutMs: 5000,
  })
  t.match(installOptions(['--join', '[fd00::1]:6443', ...byToken.slice(2)]), { join: { server: '[fd00::1]:6443' } })
  t.equal(installOptions(['--help']), undefined)
})

t.test('what is wrong is said in one line', async t => {
  const cases: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['an unknown flag', ['--no-such'], /Unknown option '--no-such'/],
    ['a word too many', ['now'], /"now": not understood/],
    ['no address', ['--join', '--token', token], /--join: "": want the apiserver as ADDRESS:PORT/],
    ['an address without a port', ['--join', '10.0.0.1', '--token', token], /"10\.0\.0\.1": want the apiserver/],
    ['a URL', ['--join', 'https://a:6443', '--token', token], /want the apiserver/],
    ['no token', ['--join', 'a:6443'], /--token: want one as/],
    ['a token of another form', ['--join', 'a:6443', '--token', 'ABC'], /--token: want one as/],
    ['no hash', ['--join', 'a:6443', '--token', token], /--discovery-token-ca-cert-hash: want sha256/],
    ['a hash of another form', [...byToken.slice(0, 4), '--discovery-token-ca-cert-hash', 'md5:1'], /"md5:1": want sha256/],
    ['two ways at once', [...byToken, '--bootstrap-kubeconfig', '/k'], /says it all/],
    ['a token without --join', ['--token', token], /but not --join/],
    ['a name that no node may have', ['--node-name', 'A_b'], /--node-name: "A_b"/],
    ['an address that is none', ['--node-ip', 'host'], /--node-ip: "host"/],
    ['a time that is none', ['--timeout', 'soon'], /--timeout: "soon"/],
  ]
  for (const [name, argv, message] of cases) t.throws(() => installOptions(argv), { code: 'bad-config', message }, name)
})

t.test('the others', async t => {
  t.same(uninstallOptions(['--keep-data']), { keepData: true })
  t.same(uninstallOptions([]), { keepData: false })
  t.same(doctorOptions(['--fix', '-o', 'json']), { fix: true, isJoining: false, format: 'json' })
  t.throws(() => doctorOptions(['-o', 'xml']), { code: 'bad-config' })
  t.throws(() => uninstallOptions(['now']), { code: 'bad-config' })
})
