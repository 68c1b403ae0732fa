// Who is let in, over real TLS on loopback: certificates, tokens, rights, and what the answers say.
import { rename, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { text } from 'node:stream/consumers'
import { connect, type TLSSocket } from 'node:tls'
import t from 'tap'
import { systemClock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { createFakeCa } from './certificates.fake.ts'
import { createFakeNode, type FakeNode } from './node.fake.ts'

const reviews = (node: FakeNode, resource: string) => node.api.calls.filter(it => it.resource === resource)

t.test('somebody unknown is not let in', async t => {
  const node = await createFakeNode(t.teardown)
  for (const [name, caller] of [
    ['without credentials', {}],
    ['with a token that the apiserver does not know', { token: 'wrong' }],
    ['with a password', { headers: { Authorization: 'Basic YTpi' } }],
  ] as const) {
    t.match(await node.ask('/pods', caller), { status: 401, body: /^Unauthorized$/ }, name)
  }
})

t.test('a token is reviewed once, and its rights one by one', async t => {
  const node = await createFakeNode(t.teardown)
  t.match(await node.ask('/pods', { token: 'watcher' }), { status: 200 })
  t.match(await node.ask('/pods', { token: 'watcher' }), { status: 200 })
  t.equal(reviews(node, 'tokenreviews').length, 1)
  t.equal(reviews(node, 'subjectaccessreviews').length, 1)
  t.match(reviews(node, 'subjectaccessreviews')[0]?.body, {
    spec: {
      user: 'watcher',
      uid: 'u',
      groups: ['g', 'system:authenticated'],
      resourceAttributes: { verb: 'get', version: 'v1', resource: 'nodes', subresource: 'pods', name: 'n1' },
    },
  })
  t.same(await node.ask('/containerLogs/default/web/c', { token: 'watcher' }).then(it => [it.status, it.body]), [
    403,
    'Forbidden (user=watcher, verb=get, resource=nodes, subresource(s)=[proxy])\n',
  ])
  t.match(await node.ask('/pods', { token: 'nobody' }), {
    status: 403,
    body: 'Forbidden (user=nobody, verb=get, resource=nodes, subresource(s)=[pods proxy])\n',
  })
  t.match(await node.ask('/run/default/web/c?cmd=ls', { token: 'nobody', method: 'POST' }), {
    status: 403,
    body: /verb=create/,
  })
})

t.test('a certificate of the client CA is its common name and organizations', async t => {
  const node = await createFakeNode(t.teardown)
  const client = await node.ca.issue({ subject: 'CN=admin,O=devs,O=ops' })
  t.match(await node.ask('/pods', { client }), { status: 200 })
  t.equal(reviews(node, 'tokenreviews').length, 0)
  t.match(reviews(node, 'subjectaccessreviews')[0]?.body, {
    spec: {
      user: 'admin',
      groups: ['devs', 'ops', 'system:authenticated'],
      extra: { 'authentication.kubernetes.io/credential-id': [/^X509SHA256=[0-9a-f]{64}$/] },
    },
  })
})

t.test('a certificate that proves nothing is worse than none, unless a token comes with it', async t => {
  const node = await createFakeNode(t.teardown, {
    kubelet: {
      authentication: {
        x509: { clientCAFile: '' },
        webhook: { enabled: true, cacheTTL: 60_000 },
        anonymous: { enabled: true },
      },
    },
  })
  t.match(await node.ask('/pods'), { status: 403, body: /user=system:anonymous/ }, 'anonymous callers have rights of their own')
  const strict = await createFakeNode(t.teardown, {
    kubelet: {
      authentication: {
        x509: { clientCAFile: node.caFile },
        webhook: { enabled: true, cacheTTL: 60_000 },
        anonymous: { enabled: true },
      },
    },
  })
  const other = await createFakeCa('cluster')
  for (const [name, client] of [
    ['of another CA of the same name', await other.issue({ subject: 'CN=admin' })],
    ['expired', await node.ca.issue({ subject: 'CN=admin', lifeMs: -1000 })],
    ['made for servers', await node.ca.issue({ subject: 'CN=admin', usage: 'server' })],
    ['without a common name', await node.ca.issue({ subject: 'O=devs' })],
  ] as const) {
    t.match(await strict.ask('/pods', { client }), { status: 401 }, name)
    t.match(await strict.ask('/pods', { client, token: 'admin' }), { status: 200 }, `${name}, with a token`)
  }
  t.match(await strict.ask('/pods'), { status: 403, body: /user=system:anonymous/ })
})

t.test('a certificate that ends while its connection stays is not believed any longer', async t => {
  let skewMs = 0
  const clock = { ...systemClock, now: () => systemClock.now() + skewMs }
  const node = await createFakeNode(t.teardown, { clock })
  const client = await node.ca.issue({ subject: 'CN=admin' })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const ask = () =>
    new Promise((resolve, reject) => {
      const asked = request({ ...node.options('/pods', { client }), agent }, async response => {
        const port = response.socket.localPort
        await text(response)
        resolve([response.statusCode, port])
      })
      asked.on('error', reject).end()
    })
  const [status, port] = (await ask()) as [number, number]
  t.equal(status, 200)
  skewMs = 2 * 86_400_000
  t.same(await ask(), [401, port])
})

t.test('the client CAs are read again when their file changes, and a broken file changes nothing', async t => {
  const node = await createFakeNode(t.teardown)
  const mine = await node.ca.issue({ subject: 'CN=admin' })
  const other = await createFakeCa('next')
  const theirs = await other.issue({ subject: 'CN=admin' })
  const replace = async (content: string) => {
    await writeFile(`${node.caFile}.new`, content)
    await rename(`${node.caFile}.new`, node.caFile)
  }
  t.equal((await node.ask('/pods', { client: theirs })).status, 401)
  await replace('not a certificate')
  await replace(`${other.cert}`)
  const deadline = Date.now() + 5000
  for (;;) {
    if ((await node.ask('/pods', { client: theirs })).status === 200) break
    if (Date.now() > deadline) return t.fail('the new CA is not taken')
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.equal((await node.ask('/pods', { client: mine })).status, 401)
})

t.test('an apiserver that cannot be asked lets nobody in, and says which question it was', async t => {
  const node = await createFakeNode(t.teardown)
  const away = new Fault('api-away', 'connection refused')
  const client = await node.ca.issue({ subject: 'CN=admin' })
  node.api.failNext({ resource: 'tokenreviews' }, away)
  t.match(await node.ask('/pods', { token: 'admin' }), { status: 401 })
  node.api.failNext({ resource: 'subjectaccessreviews' }, away)
  t.match(await node.ask('/pods', { client }), {
    status: 500,
    body: 'Authorization error (user=admin, verb=get, resource=nodes, subresource=pods)',
  })
  t.match(await node.ask('/pods', { client }), { status: 200 }, 'and is asked again')
})

t.test('AlwaysAllow asks nobody what those may whom it knows', async t => {
  const authorization = { mode: 'AlwaysAllow' as const, webhook: { cacheAuthorizedTTL: 1, cacheUnauthorizedTTL: 1 } }
  const node = await createFakeNode(t.teardown, { kubelet: { authorization } })
  t.match(await node.ask('/pods', { token: 'nobody' }), { status: 200 })
  t.match(await node.ask('/pods'), { status: 401 })
  t.equal(reviews(node, 'subjectaccessreviews').length, 0)
})

t.test('what needs an apiserver is refused without one', async t => {
  const more = { api: undefined }
  await t.rejects(createFakeNode(t.teardown, { more }), { code: 'bad-config', message: /^authentication\.webhook needs/ })
  const authentication = {
    x509: { clientCAFile: '' },
    webhook: { enabled: false, cacheTTL: 1 },
    anonymous: { enabled: false },
  }
  await t.rejects(createFakeNode(t.teardown, { kubelet: { authentication } }), {
    code: 'bad-config',
    message: 'authentication: no method is configured',
  })
  await t.rejects(createFakeNode(t.teardown, { kubelet: { tlsCipherSuites: ['TLS_BEST'] } }), {
    code: 'bad-config',
    message: "tlsCipherSuites: TLS_BEST is no cipher suite of Go's",
  })
  const missing = { ...authentication, x509: { clientCAFile: '/nowhere/ca.crt' } }
  await t.rejects(createFakeNode(t.teardown, { kubelet: { authentication: missing } }), {
    code: 'certificate',
    message: /\/nowhere\/ca\.crt/,
  })
})

const handshake = (node: FakeNode, options: object) =>
  new Promise<TLSSocket | string>(resolve => {
    const socket: TLSSocket = connect({ host: '127.0.0.1', port: node.ports.secure, ca: node.ca.cert, ...options }, () => {
      resolve(socket)
      socket.destroy()
    })
    socket.on('error', error => resolve((error as NodeJS.ErrnoException).code ?? error.message))
  })

t.test('TLS is 1.2 or newer, with the ciphers that were chosen', async t => {
  const node = await createFakeNode(t.teardown, {
    kubelet: { tlsCipherSuites: ['TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384'], tlsMinVersion: 'VersionTLS10' },
  })
  const old = await handshake(node, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })
  t.type(old, 'string', 'TLS 1.1 is refused, whatever was asked for')
  const chosen = { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384' }
  t.type(await handshake(node, chosen), 'object', 'the chosen cipher is spoken')
  t.type(await handshake(node, { ...chosen, ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }), 'string', 'another one is not')
  t.type(await handshake(node, { minVersion: 'TLSv1.3' }), 'object')
  const newest = await createFakeNode(t.teardown, { kubelet: { tlsMinVersion: 'VersionTLS13' } })
  t.type(await handshake(newest, { maxVersion: 'TLSv1.2' }), 'string')
})

t.test('the serving certificate is replaced while the server runs; without one there is no handshake', async t => {
  const node = await createFakeNode(t.teardown)
  const first = node.serving.now
  node.serving.now = await node.ca.issue({ subject: 'CN=renewed', usage: 'server' })
  node.serving.tell()
  const response = await node.open('/healthz', { token: 'admin' })
  t.equal((response.socket as TLSSocket).getPeerCertificate().subject.CN, 'renewed')
  response.resume()
  node.serving.now = { cert: first?.cert ?? '', key: 'broken' }
  node.serving.tell()
  t.equal((await node.ask('/healthz', { token: 'admin' })).status, 200, 'a broken one changes nothing')
  const bare = await createFakeNode(t.teardown, {
    more: { servingCertificate: { current: () => undefined, onChange: () => () => undefined } },
  })
  t.type(await handshake(bare, {}), 'string')
})

t.test('no session is resumed: who connects again is looked at again', async t => {
  const node = await createFakeNode(t.teardown)
  const to = { host: '127.0.0.1', port: node.ports.secure, ca: node.ca.cert }
  const open = (options: object) =>
    new Promise<{ reused: boolean; session: Buffer | undefined }>((resolve, reject) => {
      let session: Buffer | undefined
      const socket = connect({ ...to, ...options }, () => {
        socket.write('GET /pods HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n')
        socket.resume().on('end', () => resolve({ reused: socket.isSessionReused(), session: session ?? socket.getSession() }))
      })
      socket.on('session', it => {
        session = it
      })
      socket.on('error', reject)
    })
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { session } = await open({ maxVersion })
    t.equal((await open({ maxVersion, ...(session && { session }) })).reused, false, maxVersion)
  }
})
