// The decisions of the kubelet API that need no connection: rights by path, options of logs, ciphers, targets, health, configz.
import t from 'tap'
import type { ContainerStatus } from '../../api/pod-status.ts'
import type { Pod } from '../../api/types.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { withKubeletDefaults } from '../config/kubelet-defaults.ts'
import { parseTarget } from './answer.ts'
import { attributesOf, forbiddenText } from './attributes.ts'
import { bearerToken } from './authenticate.ts'
import { serveConfigz } from './configz.ts'
import { serveHealth } from './health.ts'
import { chooseContainer, parseLogQuery } from './log-options.ts'
import { requestLabels } from './request-labels.ts'
import { parsePorts, parseStreams } from './streams.ts'
import { toTlsOptions } from './tls-options.ts'
import { createTtlCache } from './ttl-cache.ts'

for (const [method, path, verb, subresources] of [
  ['GET', '/pods', 'get', ['pods', 'proxy']],
  ['GET', '/pods/', 'get', ['pods', 'proxy']],
  ['GET', '/podsx', 'get', ['proxy']],
  ['GET', '/runningpods/', 'get', ['pods', 'proxy']],
  ['GET', '/runningpods', 'get', ['pods', 'proxy']],
  ['GET', '/healthz', 'get', ['healthz', 'proxy']],
  ['GET', '/healthz/syncloop', 'get', ['healthz', 'proxy']],
  ['GET', '/configz', 'get', ['configz', 'proxy']],
  ['GET', '/stats/summary', 'get', ['stats']],
  ['GET', '/stats', 'get', ['stats']],
  ['GET', '/metrics', 'get', ['metrics']],
  ['GET', '/metrics/cadvisor', 'get', ['metrics']],
  ['GET', '/metricsx', 'get', ['proxy']],
  ['GET', '/logs/', 'get', ['log']],
  ['GET', '/logs/syslog', 'get', ['log']],
  ['POST', '/checkpoint/ns/pod/c', 'create', ['checkpoint']],
  ['GET', '/statusz', 'get', ['statusz']],
  ['GET', '/flagz', 'get', ['configz']],
  ['GET', '/containerLogs/ns/pod/c', 'get', ['proxy']],
  ['POST', '/exec/ns/pod/c', 'create', ['proxy']],
  ['GET', '/exec/ns/pod/c', 'get', ['proxy']],
  ['POST', '/run/ns/pod/c', 'create', ['proxy']],
  ['PUT', '/debug/flags/v', 'update', ['proxy']],
  ['PATCH', '/x', 'patch', ['proxy']],
  ['DELETE', '/', 'delete', ['proxy']],
  ['HEAD', '/pods', '', ['pods', 'proxy']],
] as const) {
  t.test(`${method} ${path} is "${verb}" of ${subresources.join(' or ')}`, async t =>
    t.same(attributesOf(method, path), { verb, subresources }),
  )
}

t.test('who may not is told in the words of the kubelet', async t =>
  t.equal(
    forbiddenText('system:anonymous', attributesOf('GET', '/pods')),
    'Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource(s)=[pods proxy])\n',
  ),
)

for (const [target, path] of [
  ['/pods', '/pods'],
  ['/logs/a%20b?x=1', '/logs/a b'],
  ['/%70ods', '/pods'],
  ['/logs/', '/logs/'],
  ['/', '/'],
  ['/stats/../exec/a/b/c', undefined],
  ['/stats/%2e%2e/exec', undefined],
  ['/logs/a%2fb', undefined],
  ['//stats/exec', undefined],
  ['/logs/%zz', undefined],
  ['/logs/a%00b', undefined],
  ['http://other/pods', undefined],
  ['*', undefined],
] as const) {
  t.test(`the target ${target} is ${path === undefined ? 'refused' : `the path ${path}`}`, async t =>
    t.equal(parseTarget(target)?.path, path),
  )
}

const now = Date.parse('2026-01-02T03:04:05Z')
const logQuery = (text: string) => parseLogQuery(new URLSearchParams(text), now)

for (const [text, expected] of [
  ['', { follow: false, previous: false, read: { timestamps: false } }],
  ['follow=true&timestamps=1&previous=', { follow: true, previous: true, read: { timestamps: true } }],
  ['follow=False&timestamps=0', { follow: false, previous: false, read: { timestamps: false } }],
  ['tailLines=0', { read: { tailLines: 0 } }],
  ['tail=7&tailLines=9', { read: { tailLines: 7 } }],
  ['tail=all&tailLines=9', { read: { tailLines: undefined } }],
  ['limitBytes=1', { read: { limitBytes: 1 } }],
  ['sinceSeconds=5', { read: { since: now - 5000 } }],
  ['sinceTime=2026-01-02T03:04:00Z', { read: { since: now - 5000 } }],
  ['sinceTime=2026-01-02T04:04:00.5%2B01:00', { read: { since: now - 4500 } }],
  ['stream=All&tailLines=1', { read: { tailLines: 1, stream: undefined } }],
  ['stream=Stderr', { read: { stream: 'stderr' } }],
] as const) {
  t.test(`a log is asked for by "${text}"`, async t => t.match(logQuery(text), { query: expected }))
}

for (const [text, status] of [
  ['tailLines=x', 400],
  ['tailLines=1.5', 400],
  ['limitBytes=', 400],
  ['sinceTime=yesterday', 400],
  ['sinceTime=2026-01-02', 400],
  ['tailLines=-1', 422],
  ['limitBytes=0', 422],
  ['sinceSeconds=0', 422],
  ['sinceSeconds=1&sinceTime=2026-01-02T03:04:00Z', 422],
  ['stream=stdout', 422],
  ['stream=Stdout&tailLines=1', 422],
] as const) {
  t.test(`a log cannot be asked for by "${text}"`, async t => t.match(logQuery(text), { refusal: { status } }))
}

const podWith = (status: Partial<ContainerStatus> | undefined): Pod => ({
  metadata: { name: 'p', namespace: 'default' },
  spec: { containers: [{ name: 'c', image: 'i' }] },
  status: {
    phase: 'Running',
    ...(status && {
      containerStatuses: [{ name: 'c', ready: false, restartCount: 1, image: '', imageID: '', ...status }],
    }),
  },
})
const ended = (id?: string) => ({ terminated: { exitCode: 1, ...(id && { containerID: `containerd://${id}` }) } })
const isRunning = { state: { running: { startedAt: '' } }, containerID: 'containerd://now' }
const waiting = (reason: string) => ({ state: { waiting: { reason } } })

for (const [name, status, previous, expected] of [
  ['a running container is read from what it writes now', { ...isRunning, lastState: ended('old') }, false, 'now'],
  ['its previous one from what it wrote before it ended', { ...isRunning, lastState: ended('old') }, true, 'old'],
  ['one that has ended from what it wrote', { state: ended('done') }, false, 'done'],
  ['one that ended before it got an id from the one before', { state: ended(), lastState: ended('old') }, false, 'old'],
  ['one that waits to be started again from the last', { ...waiting('CrashLoopBackOff'), lastState: ended('old') }, false, 'old'],
  ['without a previous one', isRunning, true, /^previous terminated container "c" in pod "p" not found$/],
  ['one that never started', { state: ended() }, false, /^container "c" in pod "p" is terminated$/],
  [
    'one that is being made',
    waiting('ContainerCreating'),
    false,
    /^container "c" in pod "p" is waiting to start: ContainerCreating$/,
  ],
  ['one without its image', waiting('ErrImagePull'), false, /is waiting to start: image can't be pulled$/],
  ['one whose image is waited for', waiting('ImagePullBackOff'), false, /: trying and failing to pull image$/],
  ['one of which nothing is known', undefined, false, /^container "c" in pod "p" is not available$/],
  ['one without a state', {}, false, /is waiting to start - no logs yet$/],
] as const) {
  t.test(`the log of a container: ${name}`, async t => {
    const chosen = chooseContainer(podWith(status), 'c', previous)
    if (typeof expected === 'string') return t.same(chosen, { id: expected })
    t.match(chosen, { refusal: { status: 400, body: expected } })
  })
}

t.test('cipher suites are named as in Go', async t => {
  const of = (tlsCipherSuites: readonly string[], tlsMinVersion = '', tlsCurvePreferences: readonly number[] = []) =>
    toTlsOptions({ tlsCipherSuites, tlsMinVersion, tlsCurvePreferences })
  t.match(of([]), { minVersion: 'TLSv1.2', ciphers: /^TLS_AES_128.*:ECDHE-ECDSA-AES128-GCM-SHA256:/ })
  t.notMatch(of([]).ciphers, /CBC|-SHA(:|$)|RSA-AES128-SHA/)
  t.equal(
    of(['TLS_RSA_WITH_AES_128_GCM_SHA256', 'TLS_AES_128_GCM_SHA256']).ciphers,
    'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:AES128-GCM-SHA256',
  )
  t.equal(of([], 'VersionTLS11').minVersion, 'TLSv1.2')
  t.equal(of([], 'VersionTLS13').minVersion, 'TLSv1.3')
  t.equal(of([], '', [29, 23]).ecdhCurve, 'X25519:P-256')
  t.throws(() => of(['TLS_RSA_WITH_RC4_128_SHA']), { code: 'bad-config', message: /TLS_RSA_WITH_RC4_128_SHA is not offered/ })
  t.throws(() => of(['toString']), { message: "tlsCipherSuites: toString is no cipher suite of Go's" })
  t.throws(() => of([], '', [1]), { message: "tlsCurvePreferences: 1 is no curve of Go's" })
})

t.test('health is one word, or every check by name', async t => {
  const at = (path: string, wrong?: string) => {
    const target = parseTarget(path)
    if (target === undefined) throw new Error(path)
    return serveHealth(target, { ping: () => undefined, syncloop: () => wrong })
  }
  t.match(at('/healthz'), { status: 200, body: 'ok' })
  t.match(at('/healthz?verbose'), { body: '[+]ping ok\n[+]syncloop ok\nhealthz check passed\n' })
  t.match(at('/healthz', 'stuck'), {
    status: 500,
    body: '[+]ping ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n',
  })
  t.match(at('/healthz?exclude=syncloop', 'stuck'), { status: 200 })
  t.match(at('/healthz?verbose&exclude=other'), { body: /no matches for "other"\n/ })
  t.match(at('/healthz/ping', 'stuck'), { status: 200, body: 'ok' })
  t.match(at('/healthz/syncloop', 'stuck'), { status: 500, body: 'internal server error: stuck\n' })
  t.match(at('/healthz/other'), { status: 404 })
})

t.test('the configuration is shown as a file would say it, without what may be a secret', async t => {
  const config = withKubeletDefaults({
    evictionSoftGracePeriod: { 'memory.available': 90_000 },
    staticPodURLHeader: { Authorization: ['Bearer abc'] },
  })
  const { body } = serveConfigz(config)
  t.match(JSON.parse(String(body)), {
    kubeletconfig: {
      kind: 'KubeletConfiguration',
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      streamingConnectionIdleTimeout: '4h0m0s',
      authentication: { webhook: { cacheTTL: '2m0s' }, anonymous: { enabled: false } },
      authorization: { webhook: { cacheAuthorizedTTL: '5m0s', cacheUnauthorizedTTL: '30s' } },
      evictionSoftGracePeriod: { 'memory.available': '1m30s' },
      maxPods: 110,
    },
  })
  t.notMatch(body, /abc/)
})

t.test('streams are asked for by 1, and a terminal has no second output', async t => {
  const of = (text: string) => parseStreams(new URLSearchParams(text))
  t.same(of('input=1&output=1&error=1'), { stdin: true, stdout: true, stderr: true, tty: false })
  t.same(of('output=1&error=1&tty=1'), { stdin: false, stdout: true, stderr: false, tty: true })
  t.equal(of('input=true'), undefined)
  t.equal(of('tty=1&error=1'), undefined)
  const ports = (text: string) => parsePorts(new URLSearchParams(text))
  t.same(ports('port=80,443&port=1'), [80, 443, 1])
  for (const text of ['', 'port=', 'port=0', 'port=65536', 'port=80,x']) t.equal(ports(text), undefined, text)
})

t.test('a token comes after the word Bearer', async t => {
  t.equal(bearerToken('Bearer abc'), 'abc')
  t.equal(bearerToken('bearer abc'), 'abc')
  for (const text of [undefined, '', 'Bearer', 'Bearer ', 'Basic abc', 'abc']) t.equal(bearerToken(text), undefined, String(text))
})

t.test('requests are counted by few labels, whatever is asked', async t => {
  const of = (method: string, path: string, server: 'readwrite' | 'readonly' = 'readwrite') =>
    requestLabels(method, path.slice(1).split('/'), server)
  t.match(of('GET', '/exec/a/b/c'), { method: 'GET', path: 'exec', long_running: 'true', server_type: 'readwrite' })
  t.match(of('BREW', '/secret'), { method: 'other', path: 'other', long_running: 'false' })
  t.match(of('GET', '/metrics/cadvisor'), { path: 'metrics/cadvisor' })
  t.match(of('GET', '/metrics'), { path: 'metrics' })
  t.match(of('GET', '/run/a/b/c', 'readonly'), { path: 'other' })
})

t.test('an answer holds for its time; one question is asked once at a time; a failure is no answer', async t => {
  const clock = fakeClock()
  const cache = createTtlCache<number>({ clock, limit: 2 })
  let asked = 0
  const ask = async () => ({ value: ++asked, ttlMs: 1000 })
  t.same(await Promise.all([cache.get('a', ask), cache.get('a', ask)]), [1, 1])
  await clock.advance(999)
  t.equal(await cache.get('a', ask), 1)
  await clock.advance(1)
  t.equal(await cache.get('a', ask), 2)
  await t.rejects(
    cache.get('b', () => Promise.reject(new Error('away'))),
    { message: 'away' },
  )
  t.equal(await cache.get('b', ask), 3)
  t.equal(await cache.get('c', ask), 4)
  t.equal(cache.size, 2)
  t.equal(await cache.get('a', ask), 5, 'the oldest answer made room')
})
