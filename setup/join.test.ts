import { createHmac } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { createAuthority } from '../api/kube/certificates.fake.ts'
import { systemClock } from '../host/clock.ts'
import { caHash, isSigned, prepareJoin } from './join.ts'

const token = 'abcdef.0123456789abcdef'
const authority = await createAuthority('kubernetes')
const { certificate: cert, key } = await authority.issue('apiserver', { addresses: ['127.0.0.1'] })

const sign = (payload: string, [id = '', secret = ''] = token.split('.')): string => {
  const header = Buffer.from(JSON.stringify({ alg: 'HS256', kid: id })).toString('base64url')
  const signed = `${header}.${Buffer.from(payload).toString('base64url')}`
  return `${header}..${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

// Answers to come before the cluster has signed with the token.
let unsigned = 0

// As much of an apiserver as a machine sees that joins.
const server = createServer({ cert, key }, (request, response) => {
  const answer = (status: number, data: object) => void response.writeHead(status).end(JSON.stringify({ data }))
  if (request.url?.endsWith('/cluster-info')) {
    const isNew = unsigned > 0
    unsigned -= 1
    return answer(200, { kubeconfig, ...(!isNew && { 'jws-kubeconfig-abcdef': sign(kubeconfig) }) })
  }
  if (request.headers.authorization !== `Bearer ${token}`) return answer(401, {})
  answer(200, { kubelet: 'clusterDNS: [10.32.0.10]\nclusterDomain: lab.local\n' })
})
await new Promise<void>(resolve => void server.listen(0, '127.0.0.1', resolve))
t.teardown(() => server.close())
const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
const ca = Buffer.from(authority.certificate).toString('base64')
const withoutUsers = `apiVersion: v1
clusters: [{name: "", cluster: {server: "https://${address}", certificate-authority-data: ${ca}}}]
`
const kubeconfig = `${withoutUsers}users: null\n`

const asked = { by: 'token', server: address, token, caHashes: [caHash(authority.certificate)] } as const

t.test('with a token and the hash of the CA a machine learns of its cluster', async t => {
  const { bootstrapKubeconfig, ca: found, settings } = await prepareJoin(asked, systemClock)
  t.equal(found, authority.certificate)
  t.same(settings, { clusterDNS: ['10.32.0.10'], clusterDomain: 'lab.local' })
  t.match(parse(bootstrapKubeconfig), {
    clusters: [{ cluster: { server: `https://${address}`, 'certificate-authority-data': ca } }],
    users: [{ user: { token } }],
    'current-context': 'bootstrap',
  })
})

t.test('a token that has just been made is waited for', async t => {
  unsigned = 1
  t.match(await prepareJoin(asked, systemClock), { ca: authority.certificate })
})

t.test('with a bootstrap kubeconfig too', async t => {
  const dir = await mkdtemp(join(tmpdir(), 'nlt-join-'))
  t.teardown(() => rm(dir, { recursive: true }))
  const write = async (name: string, content: string) => {
    await writeFile(join(dir, name), content)
    return { by: 'file', file: join(dir, name) } as const
  }
  const good = `${withoutUsers}users: [{name: u, user: {token: ${token}}}]\n`
  t.match(await prepareJoin(await write('good', good), systemClock), {
    bootstrapKubeconfig: good,
    settings: { clusterDomain: 'lab.local' },
  })
  await t.rejects(prepareJoin(await write('old', good.replace(token, 'abcdef.fedcba9876543210')), systemClock), {
    code: 'bad-config',
    message: /does not take the token/,
  })
  await t.rejects(prepareJoin(await write('empty', ''), systemClock), { message: /names no apiserver/ })
  await t.rejects(prepareJoin({ by: 'file', file: '/nowhere' }, systemClock), {
    message: /--bootstrap-kubeconfig: \/nowhere cannot be read/,
  })
})

t.test('what is wrong is told apart', async t => {
  await t.rejects(prepareJoin({ ...asked, token: 'abcdef.fedcba9876543210' }, systemClock), {
    message: /--token: the cluster does not know it/,
  })
  await t.rejects(prepareJoin({ ...asked, token: 'zzzzzz.0123456789abcdef' }, systemClock, 0), {
    message: /--token: the cluster does not know it/,
  })
  await t.rejects(prepareJoin({ ...asked, caHashes: [`sha256:${'0'.repeat(64)}`] }, systemClock), {
    message: /the CA of the cluster has sha256:/,
  })
  await t.rejects(prepareJoin({ ...asked, server: '127.0.0.1:1' }, systemClock), {
    code: 'api-away',
    message: /127\.0\.0\.1:1 does not answer/,
  })
})

t.test('a signature counts for its text, its token and its algorithm', async t => {
  t.ok(isSigned('text', sign('text'), token))
  t.notOk(isSigned('other', sign('text'), token))
  t.notOk(isSigned('text', undefined, token))
  const none = Buffer.from('{"alg":"none","kid":"abcdef"}').toString('base64url')
  t.notOk(isSigned('text', `${none}..`, token))
  t.notOk(isSigned('text', 'not a signature', token))
})
