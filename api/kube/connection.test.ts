// Whom the client trusts and as whom it asks: real TLS on loopback, with certificates that are wrong, expired or replaced.
import { rename, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { type Clock, systemClock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import type { KubeObject } from '../meta.ts'
import { nodes } from './api.ts'
import { createAuthority } from './certificates.fake.ts'
import { createKubeClient, type KubeClientDeps } from './client.ts'
import { type Asked, createLoopback, status } from './loopback.fake.ts'

const node = { resource: nodes, name: 'n1' }
const nodeObject = { kind: 'Node', apiVersion: 'v1', metadata: { name: 'n1', resourceVersion: '5' } }
const base64 = (text: string) => Buffer.from(text).toString('base64')

const authority = await createAuthority('cluster')
const stranger = await createAuthority('stranger')
const serving = await authority.issue('apiserver', { addresses: ['127.0.0.1'] })
const kubelet = await authority.issue('system:node:n1')

/** Who asks, as the apiserver sees it: unknown without a certificate that the authority signed and that is valid. */
const nameOf = ({ socket }: Asked): string | undefined => {
  const { authorized } = socket as TLSSocket
  return authorized ? String((socket as TLSSocket).getPeerCertificate().subject.CN) : undefined
}
const greet = (it: Asked) =>
  nameOf(it) === undefined ? it.reply(401, status(401, 'Unauthorized', 'Unauthorized')) : it.reply(200, nodeObject)

const setup = async (
  t: Test,
  respond: (asked: Asked) => void = greet,
  more: Partial<KubeClientDeps> & { served?: typeof serving } = {},
) => {
  const { served = serving, ...deps } = more
  const tls = {
    cert: served.certificate,
    key: served.key,
    ca: authority.certificate,
    requestCert: true,
    rejectUnauthorized: false,
  }
  const server = await createLoopback(respond, tls)
  const cluster = { 'certificate-authority-data': base64(authority.certificate) }
  const user = { 'client-certificate-data': base64(kubelet.certificate), 'client-key-data': base64(kubelet.key) }
  await server.writeKubeconfig(user, cluster)
  const client = createKubeClient({ kubeconfig: server.kubeconfig, clock: systemClock, log: silentLog, ...deps })
  t.teardown(async () => {
    client.close()
    await server.close()
  })
  return { server, client, user, cluster }
}

t.test('a client certificate is shown, and the apiserver verified', async t => {
  const { server, client } = await setup(t)
  t.match(await client.get(node), nodeObject)
  t.same(server.asked.map(nameOf), ['system:node:n1'])
})

t.test('a wrong CA names where it stands', async t => {
  const { server, client, user } = await setup(t)
  await server.writeKubeconfig(user, { 'certificate-authority-data': base64(stranger.certificate) })
  const message =
    /the apiserver's certificate is not signed by clusters\["lab"\]\.cluster\.certificate-authority-data of .*kubelet\.conf; put the cluster's CA there/
  await t.rejects(client.get(node), { code: 'certificate', message })
  t.equal(client.problem()?.code, 'certificate')
})

t.test('a wrong CA in a file names the file', async t => {
  const { server, client, user } = await setup(t)
  await writeFile(join(server.folder, 'ca.crt'), stranger.certificate)
  await server.writeKubeconfig(user, { 'certificate-authority': 'ca.crt' })
  await t.rejects(client.get(node), { code: 'certificate', message: new RegExp(`is not signed by ${server.folder}/ca.crt`) })
})

t.test('without verification any certificate will do', async t => {
  const { server, client, user } = await setup(t)
  await server.writeKubeconfig(user, { 'insecure-skip-tls-verify': true })
  t.match(await client.get(node), nodeObject)
})

t.test('a certificate for another address is refused with what would help', async t => {
  const other = await authority.issue('apiserver', { addresses: ['10.9.9.9'] })
  const { client } = await setup(t, greet, { served: other })
  await t.rejects(client.get(node), { code: 'certificate', message: /is for another name .*10\.9\.9\.9.*"tls-server-name"/ })
})

t.test('tls-server-name says which name to verify', async t => {
  const { server, client, user, cluster } = await setup(t)
  await server.writeKubeconfig(user, { ...cluster, 'tls-server-name': 'kubernetes' })
  await t.rejects(client.get(node), { code: 'certificate', message: /is for another name/ })
  await server.writeKubeconfig(user, { ...cluster, 'tls-server-name': '127.0.0.1' })
  await systemClock.sleep(1001)
  t.match(await client.get(node), nodeObject)
})

t.test("an apiserver's certificate that has expired says so", async t => {
  const old = await authority.issue('apiserver', { addresses: ['127.0.0.1'], until: new Date(Date.now() - 1000) })
  const { client } = await setup(t, greet, { served: old })
  await t.rejects(client.get(node), { code: 'certificate', message: /the apiserver's certificate has expired/ })
})

t.test('a client certificate that has expired says which file, until when, and what to do', async t => {
  const until = new Date(Math.floor(Date.now() / 1000) * 1000 - 5000)
  const old = await authority.issue('system:node:n1', { until })
  const { server, client, cluster } = await setup(t)
  const file = join(server.folder, 'kubelet-client-current.pem')
  await writeFile(file, old.certificate + old.key)
  await server.writeKubeconfig({ 'client-certificate': file, 'client-key': file }, cluster)
  const message = new RegExp(`the client certificate ${file} was valid until ${until.toISOString()} .*join the node again`)
  await t.rejects(client.get(node), { code: 'certificate', message })
  t.same(server.asked.map(nameOf), [undefined], 'it was asked all the same: our clock may be the wrong one')
})

t.test('a key that does not belong to the certificate is said with both places', async t => {
  const { server, client, user, cluster } = await setup(t)
  await server.writeKubeconfig({ ...user, 'client-key-data': base64((await authority.issue('x')).key) }, cluster)
  await t.rejects(client.get(node), {
    code: 'certificate',
    message: /client-certificate-data.*client-key-data.*the key must belong/,
  })
})

t.test('a certificate rotated by a swapped link: new calls show it, and watches end to be opened anew', async t => {
  // Time for looking at the files is a step of its own here.
  let elapsed = 0
  const clock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() + elapsed }
  const names: unknown[] = []
  const respond = (it: Asked) => {
    names.push(nameOf(it))
    if (it.query.has('watch')) it.stream()
    else greet(it)
  }
  const { server, client, cluster } = await setup(t, respond, { clock })
  const current = join(server.folder, 'kubelet-client-current.pem')
  const rotate = async (name: string) => {
    const { certificate, key } = await authority.issue(name)
    await writeFile(join(server.folder, `${name}.pem`), certificate + key)
    await symlink(`${name}.pem`, `${current}.new`)
    await rename(`${current}.new`, current)
    elapsed += 1000
  }
  await rotate('first')
  await server.writeKubeconfig({ 'client-certificate': current, 'client-key': current }, cluster)
  await client.get(node)
  const opened = Promise.withResolvers<void>()
  const watch = client.watch<KubeObject>(nodes, {}, {}, { opened: opened.resolve, event: () => undefined, idleMs: () => 60_000 })
  await opened.promise
  const held = server.asked[1]?.socket
  const closed = new Promise(resolve => held?.on('close', resolve))
  await rotate('second')
  await client.get(node)
  await t.resolves(watch)
  await closed
  t.same(names, ['first', 'first', 'second'])
})

const execUser = (command: string) => ({
  exec: { apiVersion: 'client.authentication.k8s.io/v1', command, args: ['token'], installHint: 'get it' },
})
const answered = (status: object) => ({
  exitCode: 0,
  stderr: '',
  stdout: JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status }),
})

t.test('a program gives a token, and is run again when the apiserver no longer takes it', async t => {
  const runs: (readonly string[])[] = []
  const run = async (argv: readonly string[]) => answered({ token: `t${runs.push(argv)}` })
  const respond = (it: Asked) =>
    it.headers['authorization'] === 'Bearer t2' ? it.reply(200, nodeObject) : it.reply(401, status(401, 'Unauthorized', 'no'))
  const { server, client, cluster } = await setup(t, respond, { exec: { run } })
  await server.writeKubeconfig(execUser('get-token'), cluster)
  t.match(await client.get(node), nodeObject)
  await client.get(node)
  t.same(runs, [
    ['get-token', 'token'],
    ['get-token', 'token'],
  ])
})

t.test('a program gives a certificate', async t => {
  const run = async () => answered({ clientCertificateData: kubelet.certificate, clientKeyData: kubelet.key })
  const { server, client, cluster } = await setup(t, greet, { exec: { run } })
  await server.writeKubeconfig(execUser('get-certificate'), cluster)
  t.match(await client.get(node), nodeObject)
})

for (const [name, run, expected] of [
  ['cannot be run', () => Promise.reject(new Fault('command', 'ENOENT')), /exec get failed \(get it\)/],
  ['answers no JSON', async () => ({ exitCode: 0, stderr: '', stdout: 'hello' }), /answered no JSON/],
  ['answers nothing', async () => answered({}), /answered neither status\.token/],
] as const) {
  t.test(`a program that ${name} is named`, async t => {
    const { server, client, cluster } = await setup(t, greet, { exec: { run } })
    await server.writeKubeconfig(execUser('get'), cluster)
    await t.rejects(client.get(node), { code: 'api-unauthorized', message: expected })
  })
}
