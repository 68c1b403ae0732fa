import t from 'tap'
import type { Container } from '../api/types.ts'
import { expandStatic } from './exec.ts'
import { toRedirect, toRequest, toTarget, toUrl } from './request.ts'
import { resolvePort } from './target.ts'

const container: Container = { name: 'c', image: 'i', ports: [{ name: 'http', containerPort: 8080 }] }

for (const [name, path, target] of [
  ['no path is the root', '', '/'],
  ['a path stays', '/healthz', '/healthz'],
  ['a missing slash is put in front', 'healthz', '/healthz'],
  ['a query is kept', '/healthz?verbose=1&x=a?b', '/healthz?verbose=1&x=a?b'],
  ['a fragment is not sent', '/healthz?a#top', '/healthz?a'],
  ['a whole address keeps its path only', 'http://elsewhere:99/x?y', '/x?y'],
  ['a blank is encoded', '/a b?c d', '/a%20b?c%20d'],
  ['other letters are encoded as UTF-8', '/ü', '/%C3%BC'],
  ['escapes stay as they are', '/a%2Fb', '/a%2Fb'],
  ['a broken escape makes all of it literal', '/100%?a', '/100%25%3Fa'],
] as const) {
  t.test(name, async t => t.equal(toTarget(path), target))
}

t.test('a request goes to the pod, by a named port, with the headers of the kubelet', async t => {
  const request = toRequest({ port: 'http', path: '/x' }, container, '10.0.0.1', 'probe')
  t.same(request, {
    secure: false,
    host: '10.0.0.1',
    port: 8080,
    target: '/x',
    headers: { Host: '10.0.0.1:8080', 'User-Agent': 'kube-probe/1.36', Accept: '*/*' },
  })
  t.equal(toUrl(request), 'http://10.0.0.1:8080/x')
})

t.test('a host, a scheme, IPv6 and headers of the user are taken', async t => {
  const httpHeaders = [
    { name: 'host', value: 'web.example' },
    { name: 'x-two', value: 'a' },
    { name: 'X-Two', value: 'b' },
    { name: 'accept', value: '' },
    { name: 'user-agent', value: 'mine' },
    { name: 'content-length', value: '7' },
  ]
  const request = toRequest({ port: 443, scheme: 'HTTPS', httpHeaders }, container, 'fd00::1', 'lifecycle')
  t.same(request.headers, { Host: 'web.example', 'X-Two': ['a', 'b'], 'User-Agent': 'mine' })
  t.equal(toUrl(request), 'https://[fd00::1]:443/')
  t.equal(toRequest({ port: 80, host: 'other' }, container, 'fd00::1', 'probe').host, 'other')
})

const request = toRequest(
  { port: 80, path: '/a/b', httpHeaders: [{ name: 'Host', value: 'web' }] },
  container,
  '10.0.0.1',
  'probe',
)
for (const [name, status, location, expected] of [
  [
    'a relative redirect is followed with the same Host header',
    302,
    '/c?d',
    { to: { target: '/c?d', headers: { Host: 'web' } } },
  ],
  [
    'one to the same host on another port is followed',
    307,
    'http://10.0.0.1:81/c',
    { to: { port: 81, headers: { Host: '10.0.0.1:81' } } },
  ],
  ['one to the same host by HTTPS too', 301, 'https://10.0.0.1/c', { to: { secure: true, port: 443 } }],
  ['one to another host is the end', 302, 'http://10.0.0.2/c', 'elsewhere'],
  ['a 304 is no redirect', 304, '/c', 'none'],
  ['a redirect without a place to go is none', 301, undefined, 'none'],
  ['a place that is no address is a failure', 301, 'http://[', { broken: /failed to parse Location/ }],
] as const) {
  t.test(name, async t => {
    const redirect = toRedirect(request, status, location)
    if (typeof expected === 'string') t.equal(redirect, expected)
    else t.match(redirect, expected)
  })
}

t.test('ports are numbers, names, or numbers written as text', async t => {
  t.equal(resolvePort(80, container), 80)
  t.equal(resolvePort('http', container), 8080)
  t.equal(resolvePort('90', container), 90)
  t.throws(() => resolvePort('grpc', container), { message: 'port grpc not found' })
  t.throws(() => resolvePort(70_000, container), { message: 'invalid port number: 70000' })
})

t.test('commands see the literal environment of their container', async t => {
  const env = [
    { name: 'A', value: 'x' },
    { name: 'B', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
  ]
  t.same(expandStatic(['$(A)', '$(B)', '$(C)', '$$(A)', 'a$(A)b$'], env), ['x', '$(B)', '$(C)', '$(A)', 'axb$'])
})
