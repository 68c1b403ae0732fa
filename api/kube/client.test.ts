// The client against a server that answers well, badly, late or not at all.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fakeClock } from '../../host/clock.fake.ts'
import { systemClock } from '../../host/clock.ts'
import { isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import type { KubeObject } from '../meta.ts'
import { nodes, pods, serviceAccounts } from './api.ts'
import { createKubeClient } from './client.ts'
import { type Asked, createLoopback, status } from './loopback.fake.ts'

const node = { resource: nodes, name: 'n1' }
const nodeObject = { kind: 'Node', apiVersion: 'v1', metadata: { name: 'n1', resourceVersion: '5' } }

const recordingLog = () => {
  const lines: string[] = []
  const take = (level: string) => (_: object, message: string) => void lines.push(`${level} ${message}`)
  const log: Log = { error: take('error'), warn: take('warn'), info: take('info'), debug: () => undefined, child: () => log }
  return { log, lines }
}

const setup = async (t: Test, respond?: (asked: Asked) => void, clock = systemClock) => {
  const server = await createLoopback(respond)
  const { log, lines } = recordingLog()
  const client = createKubeClient({ kubeconfig: server.kubeconfig, clock, log })
  t.teardown(async () => {
    client.close()
    await server.close()
  })
  return { server, client, lines }
}

t.test('each verb asks the path, body and content type of the API', async t => {
  const { server, client } = await setup(t, it => it.reply(it.method === 'POST' ? 201 : 200, nodeObject))
  await client.get(node)
  await client.create({ resource: nodes }, nodeObject)
  await client.create({ resource: serviceAccounts, namespace: 'x', name: 'default', subresource: 'token' }, { spec: {} })
  await client.update({ ...node, subresource: 'status' }, nodeObject)
  await client.patch({ resource: pods, namespace: 'x', name: 'web', subresource: 'status' }, { status: {} }, 'strategic')
  await client.patch(node, [], 'json')
  await client.patch(node, {}, 'merge')
  await client.delete({ resource: pods, namespace: 'x', name: 'web' }, { gracePeriodSeconds: 0, preconditions: { uid: 'u' } })
  t.same(
    server.asked.map(it => `${it.method} ${it.path} ${it.headers['content-type'] ?? '-'} ${it.body}`),
    [
      'GET /api/v1/nodes/n1 - ',
      `POST /api/v1/nodes application/json ${JSON.stringify(nodeObject)}`,
      'POST /api/v1/namespaces/x/serviceaccounts/default/token application/json {"spec":{}}',
      `PUT /api/v1/nodes/n1/status application/json ${JSON.stringify(nodeObject)}`,
      'PATCH /api/v1/namespaces/x/pods/web/status application/strategic-merge-patch+json {"status":{}}',
      'PATCH /api/v1/nodes/n1 application/json-patch+json []',
      'PATCH /api/v1/nodes/n1 application/merge-patch+json {}',
      'DELETE /api/v1/namespaces/x/pods/web application/json {"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"preconditions":{"uid":"u"}}',
    ],
  )
  const [first] = server.asked
  t.match(first?.headers['user-agent'], /^nodelet\/\d+\.\d+\.\d+/)
  t.equal(first?.headers['authorization'], 'Bearer secret')
  t.equal(new Set(server.asked.map(it => it.socket)).size, 1, 'one connection serves them all')
})

for (const [name, code, body, contentType, expected] of [
  [
    '401 is api-unauthorized',
    401,
    status(401, 'Unauthorized', 'who?'),
    undefined,
    { code: 'api-unauthorized', reason: 'Unauthorized', message: /GET http.*nodes\/n1: who\?/ },
  ],
  [
    '403 is api-forbidden with the words of the server',
    403,
    status(403, 'Forbidden', 'User "x" cannot'),
    undefined,
    { code: 'api-forbidden', message: /User "x" cannot/ },
  ],
  [
    '404 is not-found',
    404,
    status(404, 'NotFound', 'nodes "n1" not found'),
    undefined,
    { code: 'not-found', reason: 'NotFound' },
  ],
  ['404 in plain text too', 404, '404 page not found\n', undefined, { code: 'not-found', message: /404 page not found/ }],
  ['409 is api-conflict', 409, status(409, 'Conflict', 'modified'), undefined, { code: 'api-conflict', retry: 'now' }],
  ['410 is api-expired', 410, status(410, 'Expired', 'too old'), undefined, { code: 'api-expired' }],
  [
    '422 is api-refused with its reason',
    422,
    status(422, 'Invalid', 'spec: wrong'),
    undefined,
    { code: 'api-refused', reason: 'Invalid', message: /spec: wrong/ },
  ],
  [
    '429 without Retry-After is api-busy',
    429,
    status(429, 'TooManyRequests', 'slow', { retryAfterSeconds: 7 }),
    undefined,
    { code: 'api-busy', retryAfterMs: 7000 },
  ],
  ['500 is api-away', 500, status(500, 'InternalError', 'etcd'), undefined, { code: 'api-away', reason: 'InternalError' }],
  [
    'HTML with 200 is no apiserver',
    200,
    '<html><body>Login</body></html>',
    'text/html',
    { code: 'api-away', message: /no apiserver.*text\/html.*<html>.*"server" in the kubeconfig/ },
  ],
  ['HTML with 403 is none either', 403, '<html>Forbidden</html>', 'text/html', { code: 'api-away', message: /no apiserver/ }],
  ['a torn answer says so', 200, '{"kind":"Node","meta', 'application/json', { code: 'api-away', message: /torn/ }],
] as const) {
  t.test(name, async t => {
    const { client } = await setup(t, it =>
      it.reply(code, body, contentType === undefined ? {} : { 'content-type': contentType }),
    )
    await t.rejects(client.get(node), { ...expected })
  })
}

t.test('409 of a create is already-exists', async t => {
  const { client } = await setup(t, it => it.reply(409, status(409, 'AlreadyExists', 'there')))
  await t.rejects(client.create({ resource: nodes }, nodeObject), { code: 'already-exists' })
})

for (const code of [429, 503]) {
  t.test(`${code} with Retry-After is asked again after that time`, async t => {
    const clock = fakeClock()
    const { server, client } = await setup(
      t,
      it =>
        server.asked.length === 1
          ? it.reply(code, status(code, 'Busy', 'later'), { 'retry-after': '3' })
          : it.reply(200, nodeObject),
      clock,
    )
    const call = client.get(node)
    await server.request(0)
    // The answer has to travel: time moves in steps until the second request is there.
    let waitedMs = 0
    while (server.asked.length === 1) {
      await clock.advance(100)
      await systemClock.sleep(2)
      waitedMs += 100
    }
    t.match(await call, nodeObject)
    t.ok(waitedMs >= 3000)
  })
}

t.test('a Retry-After beyond the deadline is told to the caller at once', async t => {
  const { client } = await setup(t, it => it.reply(429, status(429, 'TooManyRequests', 'later'), { 'retry-after': '60' }))
  await t.rejects(client.get(node), { code: 'api-busy', retryAfterMs: 60_000 })
})

t.test('a server that takes the call and says nothing is given up at the deadline, whatever the wall clock does', async t => {
  const clock = fakeClock()
  const jumping = { ...clock, now: () => clock.now() + 3_600_000 }
  const { server, client, lines } = await setup(t, undefined, jumping)
  const call = t.rejects(client.get(node), { code: 'api-away', message: /no answer within 30 s/ })
  await server.request(0)
  await clock.advance(30_000)
  await call
  t.same(lines, ['warn the apiserver cannot be asked; trying on'])
})

t.test('a caller can give up; that is not held against the apiserver', async t => {
  const { server, client } = await setup(t)
  const stop = new AbortController()
  const call = t.rejects(client.get(node, { signal: stop.signal }), { code: 'api-away', message: /given up by the caller/ })
  await server.request(0)
  stop.abort(new Error('enough'))
  await call
  t.equal(client.problem(), undefined)
})

t.test('one line when the apiserver goes away and one when it is back, however many calls failed', async t => {
  const { server, client, lines } = await setup(t, it => it.reply(200, nodeObject))
  let backs = 0
  client.onBack(() => backs++)
  await client.get(node)
  await server.down()
  for (let i = 0; i < 3; i++) await t.rejects(client.get(node), { code: 'api-away', message: /ECONNREFUSED/ })
  t.ok(isFault(client.problem(), 'api-away'))
  await server.up()
  await client.get(node)
  t.same(lines, ['warn the apiserver cannot be asked; trying on', 'info the apiserver answers again'])
  t.equal(client.problem(), undefined)
  t.equal(backs, 1)
})

t.test('a connection that the server closed while it was idle is not noticed by a get', async t => {
  const { server, client } = await setup(t, it => it.reply(200, nodeObject))
  await client.get(node)
  await server.down()
  await server.up()
  t.match(await client.get(node), nodeObject)
})

t.test('a list is read in pages, and its items say what they are', async t => {
  const { server, client } = await setup(t, it => {
    const isSecond = it.query.get('continue') === 'more'
    const items = [{ metadata: { name: isSecond ? 'b' : 'a', managedFields: [1] } }]
    it.reply(200, {
      kind: 'PodList',
      apiVersion: 'v1',
      metadata: { resourceVersion: '7', ...(!isSecond && { continue: 'more' }) },
      items,
    })
  })
  const { items, resourceVersion } = await client.list(
    pods,
    { fieldSelector: 'spec.nodeName=n1', resourceVersion: '5' },
    { namespace: 'x' },
  )
  t.same(items, [
    { kind: 'Pod', apiVersion: 'v1', metadata: { name: 'a' } },
    { kind: 'Pod', apiVersion: 'v1', metadata: { name: 'b' } },
  ])
  t.equal(resourceVersion, '7')
  t.same(
    server.asked.map(it => `${it.path}?${it.query}`),
    [
      '/api/v1/namespaces/x/pods?fieldSelector=spec.nodeName%3Dn1&resourceVersion=5&limit=500',
      '/api/v1/namespaces/x/pods?limit=500&fieldSelector=spec.nodeName%3Dn1&continue=more',
    ],
  )
})

t.test('410 between two pages lists once more, whole', async t => {
  const { client } = await setup(t, it => {
    const page = (name: string, more: object) => ({
      kind: 'PodList',
      metadata: { resourceVersion: '9', ...more },
      items: [{ metadata: { name } }],
    })
    if (it.query.has('continue')) it.reply(410, status(410, 'Expired', 'compacted'))
    else if (it.query.get('limit') === '0') it.reply(200, page('whole', {}))
    else it.reply(200, page('first', { continue: 'more' }))
  })
  t.same(
    (await client.list(pods, {})).items.map(it => it.metadata.name),
    ['whole'],
  )
})

t.test('a new token in its file is used from the next look on', async t => {
  const clock = fakeClock()
  const { server, client } = await setup(t, it => it.reply(200, nodeObject), clock)
  const file = join(server.folder, 'token')
  await writeFile(file, 'one\n')
  await server.writeKubeconfig({ tokenFile: 'token' })
  await client.get(node)
  await writeFile(file, 'two, longer')
  await clock.advance(1000)
  await client.get(node)
  t.same(
    server.asked.map(it => it.headers['authorization']),
    ['Bearer one', 'Bearer two, longer'],
  )
})

t.test('401 reads the credentials again at once, and asks once more when they are new', async t => {
  const { server, client } = await setup(t, it =>
    it.headers['authorization'] === 'Bearer new' ? it.reply(200, nodeObject) : it.reply(401, status(401, 'Unauthorized', 'no')),
  )
  await t.rejects(client.get(node), { code: 'api-unauthorized' })
  t.equal(server.asked.length, 1, 'with nothing new there is no second try')
  await server.writeKubeconfig({ token: 'new' })
  t.match(await client.get(node), nodeObject)
})

t.test('a kubeconfig that is broken while it is changed leaves the one before in use', async t => {
  const clock = fakeClock()
  const { server, client, lines } = await setup(t, it => it.reply(200, nodeObject), clock)
  await client.get(node)
  await writeFile(server.kubeconfig, 'kind: Con')
  for (let i = 0; i < 3; i++) {
    await clock.advance(1000)
    await client.get(node)
  }
  t.same(lines, ['warn changed credentials cannot be used; the ones before are kept'])
})

t.test('a watch hands on events without managedFields and ends with the stream', async t => {
  const { client } = await setup(t, it => {
    it.stream()
    it.event('ADDED', { metadata: { name: 'ä', managedFields: [{}] } })
    it.event('BOOKMARK', { metadata: { resourceVersion: '8' } })
    it.answer.end()
  })
  const events: unknown[] = []
  const hooks = { idleMs: () => 60_000, event: (event: unknown) => void events.push(event) }
  await client.watch<KubeObject>(nodes, { resourceVersion: '5' }, {}, hooks)
  t.same(events, [
    { type: 'ADDED', object: { metadata: { name: 'ä' } } },
    { type: 'BOOKMARK', object: { metadata: { resourceVersion: '8' } } },
  ])
})

const watched = (client: ReturnType<typeof createKubeClient>, idleMs = 60_000) => {
  const opened = Promise.withResolvers<void>()
  return {
    opened: opened.promise,
    ended: client.watch<KubeObject>(nodes, {}, {}, { opened: opened.resolve, event: () => undefined, idleMs: () => idleMs }),
  }
}

for (const [name, script, expected] of [
  [
    'a garbage line',
    (it: Asked) => void it.answer.end('{"type":"ADD}\n'),
    { code: 'api-away', reason: 'TornLine', message: /torn line.*"ADD/ },
  ],
  [
    'a line that is no event',
    (it: Asked) => void it.answer.end('{"type":"GUESS","object":{}}\n'),
    { code: 'api-away', reason: 'TornLine' },
  ],
  ['a line that never ends', (it: Asked) => void it.answer.end('{"type":'), { code: 'api-away', reason: 'TornLine' }],
  [
    'an ERROR of 410',
    (it: Asked) => it.event('ERROR', status(410, 'Expired', 'too old resource version')),
    { code: 'api-expired' },
  ],
  ['an ERROR of 500', (it: Asked) => it.event('ERROR', status(500, 'InternalError', 'oh')), { code: 'api-away', message: /oh/ }],
  ['a connection that is cut', (it: Asked) => void it.socket.destroy(), { code: 'api-away' }],
] as const) {
  t.test(`${name} ends a watch with a fault`, async t => {
    const { client } = await setup(t, it => {
      it.stream()
      setImmediate(() => script(it))
    })
    await t.rejects(watched(client).ended, { ...expected })
  })
}

t.test('a watch on which nothing comes for too long is given up: its connection is half open', async t => {
  const clock = fakeClock()
  const { client } = await setup(t, it => it.stream(), clock)
  const { opened, ended } = watched(client)
  const result = t.rejects(ended, { code: 'api-away', message: /nothing came for 60 s/ })
  await opened
  await clock.advance(60_000)
  await result
})

t.test('a watch that the server takes but never answers is given up too', async t => {
  const clock = fakeClock()
  const { server, client } = await setup(t, undefined, clock)
  const result = t.rejects(watched(client).ended, { code: 'api-away', message: /nothing came/ })
  await server.request(0)
  await clock.advance(60_000)
  await result
})

t.test('closing the client ends its watches', async t => {
  const { client } = await setup(t, it => it.stream())
  const { opened, ended } = watched(client)
  await opened
  const result = t.rejects(ended, { code: 'api-away' })
  client.close()
  await result
})
