import t from 'tap'
import { decodeRequest, encodeReply } from './server.ts'
import { curlShim, perlShim, plainShim, shimMarker } from './shim.ts'

for (const [name, body, env, stdin] of [
  [
    'variables and configuration',
    'CNI_COMMAND=ADD\0CNI_ARGS=A=1;B=2\0\0{"a":1}',
    { CNI_COMMAND: 'ADD', CNI_ARGS: 'A=1;B=2' },
    '{"a":1}',
  ],
  ['an empty value', 'CNI_NETNS=\0\0{}', { CNI_NETNS: '' }, '{}'],
  ['a value of several lines', 'CNI_ARGS=a\nb\0\0{}', { CNI_ARGS: 'a\nb' }, '{}'],
  ['no configuration', 'CNI_COMMAND=VERSION\0\0', { CNI_COMMAND: 'VERSION' }, ''],
  ['no variables', '\0{}', {}, '\0{}'],
] as const)
  t.test(`a request with ${name}`, async t => t.same(decodeRequest(body), { env, stdin }))

t.test('a reply is its exit code, a newline and its text', async t =>
  t.equal(encodeReply({ exitCode: 1, stdout: '{"code":11}\n' }), '1\n{"code":11}\n'),
)

const paths = { socket: '/run/nodelet/nodelet.sock', standalone: ['/opt/node', '/opt/cni/main.ts'] }
for (const [name, text] of [
  ['perl', perlShim('/usr/bin/perl', paths)],
  ['curl', curlShim('/usr/bin/curl', paths)],
  ['neither', plainShim(paths)],
] as const)
  t.test(`the shim with ${name} names itself and the standalone program`, async t => {
    t.match(text, shimMarker)
    t.match(text, /'\/opt\/node',? '\/opt\/cni\/main.ts'/)
  })

t.test('a path that would leave its quotes is refused', async t => {
  t.throws(() => perlShim('/usr/bin/perl', { ...paths, socket: "/run/o'clock" }), { code: 'bad-config' })
})
