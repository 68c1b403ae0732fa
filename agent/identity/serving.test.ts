import { lstat, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect as connectNet } from 'node:net'
import { join } from 'node:path'
import { connect, createServer, type Server } from 'node:tls'
import t, { type Test } from 'tap'
import type { Pair } from './certificate.ts'
import { createLab } from './lab.fake.ts'
import { isSelfMade, servingFiles } from './serving.ts'
import type { NodeAddress } from './signing-request.ts'
import { makeX509, newKey } from './x509.ts'

const labFor = (t: Test) => createLab(end => t.teardown(end))
const modeOf = async (path: string) => (await stat(path)).mode & 0o777
const yearMs = 365 * 86_400_000

const listening = async (t: Test): Promise<{ server: Server; port: number }> => {
  const server = createServer({}, socket => socket.end())
  server.on('tlsClientError', () => undefined)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  return { server, port: (server.address() as AddressInfo).port }
}

/** The fingerprint that a client is shown; rejects when the handshake fails. */
const shown = (port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect({ socket: connectNet(port, '127.0.0.1'), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? '')
      socket.destroy()
    })
    socket.on('error', reject)
  })

t.test('a node signs its own certificate once, for its name and addresses, for a year', async t => {
  const lab = await labFor(t)
  const identity = lab.identity()
  await identity.startServing(undefined)
  const made = identity.servingCertificate()!
  t.match(made.facts, {
    dnsNames: ['n1'],
    addresses: ['10.0.0.5'],
    notAfter: lab.clock.now() - (lab.clock.now() % 1000) - 3_600_000 + yearMs,
  })
  t.match(made.facts.issuer, /^CN=n1-ca@\d+$/)
  t.equal(await modeOf(join(lab.certDir, 'kubelet.crt')), 0o644)
  t.equal(await modeOf(join(lab.certDir, 'kubelet.key')), 0o600)
  const again = lab.identity()
  await again.startServing(undefined)
  t.equal(again.servingCertificate()?.facts.fingerprint, made.facts.fingerprint, 'a restart keeps it')
})

t.test('one that it signed itself is made anew when it has ended', async t => {
  const lab = await labFor(t)
  const identity = lab.identity()
  await identity.startServing(undefined)
  const first = identity.servingCertificate()
  const changes: Pair[] = []
  identity.onChange(pair => changes.push(pair))
  await lab.advanceUntil(() => changes.length === 1, 'the new one', yearMs / 20)
  t.not(changes[0]?.facts.fingerprint, first?.facts.fingerprint)
})

t.test('files of somebody else are served, also when they change, and stay when they break', async t => {
  const lab = await labFor(t)
  const [certFile, keyFile] = [join(lab.root, 'tls.crt'), join(lab.root, 'tls.key')]
  const put = async (host: string) => {
    const key = newKey()
    const made = await makeX509({ make: 'self-signed', key, host, dnsNames: [host], addresses: [], now: lab.clock.now() })
    await writeFile(keyFile, key)
    await writeFile(certFile, made)
  }
  await put('first')
  const identity = lab.identity({ tlsCertFile: certFile, tlsPrivateKeyFile: keyFile })
  const { server, port } = await listening(t)
  await identity.startServing(undefined)
  identity.secure(server, { minVersion: 'TLSv1.2' })
  t.equal(await shown(port), identity.servingCertificate()?.facts.fingerprint)
  await put('second')
  await lab.advanceUntil(() => identity.servingCertificate()?.facts.dnsNames[0] === 'second', 'the second')
  t.equal(await shown(port), identity.servingCertificate()?.facts.fingerprint, 'a running server shows the new one')
  await writeFile(certFile, 'torn')
  await lab.advanceUntil(() => lab.lines.some(it => /last good ones stay/.test(it.message)), 'the line')
  t.same(identity.servingCertificate()?.facts.dnsNames, ['second'])
  await t.rejects(lstat(join(lab.certDir, 'kubelet.crt')), 'nothing is made beside them')
})

t.test('files that were given and are not there, or only one of them, are an error', async t => {
  const lab = await labFor(t)
  const [tlsCertFile, tlsPrivateKeyFile] = [join(lab.root, 'no.crt'), join(lab.root, 'no.key')]
  await t.rejects(lab.identity({ tlsCertFile, tlsPrivateKeyFile }).startServing(undefined), {
    code: 'certificate',
    message: /no\.crt/,
  })
  t.throws(() => servingFiles('/pki', '/a.crt', ''), {
    code: 'bad-config',
    message: /tlsCertFile is given without tlsPrivateKeyFile/,
  })
})

t.test('a foreign kubelet.crt that ended is served with a line, never overwritten', async t => {
  const lab = await labFor(t)
  await mkdir(lab.certDir)
  const key = newKey()
  const request = await makeX509({
    make: 'request',
    key,
    subject: { commonName: 'n1', organizations: [], dnsNames: ['n1'], addresses: [] },
  })
  const cert = await lab.signer.sign(request)
  await writeFile(join(lab.certDir, 'kubelet.crt'), cert)
  await writeFile(join(lab.certDir, 'kubelet.key'), key)
  await lab.clock.advance(2 * 86_400_000)
  await lab.identity().startServing(undefined)
  t.equal(await readFile(join(lab.certDir, 'kubelet.crt'), 'utf8'), cert)
  t.ok(lab.lines.some(it => /kubelet\.crt has ended/.test(it.message)))
})

t.test('with serverTLSBootstrap handshakes fail until the certificate is issued, then a client sees it', async t => {
  const lab = await labFor(t)
  await lab.signer.rule('leave')
  const identity = lab.identity({ serverTLSBootstrap: true })
  const { server, port } = await listening(t)
  await identity.startServing(lab.api)
  identity.secure(server, {})
  await lab.advanceUntil(() => lab.signer.seen.length === 1, 'the request')
  await t.rejects(shown(port), /handshake failure|SSL|ECONNRESET/i)
  t.ok(lab.lines.some(it => /handshakes fail/.test(it.message)))
  t.match(lab.signer.seen[0]?.spec, { signerName: 'kubernetes.io/kubelet-serving', usages: ['digital signature', 'server auth'] })
  await lab.signer.rule('issue')
  await lab.advanceUntil(() => identity.servingCertificate() !== undefined, 'the certificate')
  t.equal(await shown(port), identity.servingCertificate()?.facts.fingerprint)
  t.match(identity.servingCertificate()?.facts, { dnsNames: ['n1'], addresses: ['10.0.0.5'] })
  t.ok((await lstat(join(lab.certDir, 'kubelet-server-current.pem'))).isSymbolicLink())
})

t.test('it is requested anew for other addresses, also while the first request waits, and not without any', async t => {
  const lab = await labFor(t)
  let addresses: readonly NodeAddress[] = []
  const identity = lab.identity({ serverTLSBootstrap: true, addresses: () => addresses })
  await lab.signer.rule('leave')
  await identity.startServing(lab.api)
  await lab.clock.advance(120_000)
  t.equal(lab.signer.seen.length, 0, 'nothing is requested without an address')
  const move = (address: string) => {
    addresses = [{ type: 'InternalIP', address }]
    identity.addressesChanged()
  }
  move('10.0.0.5')
  await lab.advanceUntil(() => lab.signer.seen.length === 1, 'the first request', 10)
  move('10.0.0.6')
  await lab.advanceUntil(() => lab.signer.seen.length === 2, 'the second request', 10)
  await lab.signer.rule('issue')
  await lab.advanceUntil(() => identity.servingCertificate() !== undefined, 'the certificate')
  t.same(identity.servingCertificate()?.facts.addresses, ['10.0.0.6'])
  move('10.0.0.7')
  await lab.advanceUntil(() => identity.servingCertificate()?.facts.addresses[0] === '10.0.0.7', 'the third')
  t.equal(identity.figures().servingRenewErrors, 0)
})

t.test('it is rotated, and what it lived is told', async t => {
  const lab = await labFor(t)
  const lived: number[] = []
  const identity = lab.identity({ serverTLSBootstrap: true, onServingRotated: ms => lived.push(ms) })
  await identity.startServing(lab.api)
  await lab.advanceUntil(() => identity.servingCertificate() !== undefined, 'the certificate')
  await lab.clock.advance(0.7 * 86_400_000)
  // In small steps: making a key takes its own time, while which a long step would go on and on.
  await lab.advanceUntil(() => lived.length === 1, 'the rotation', 60_000)
  t.ok(lived[0]! >= 0.79 * 86_400_000 && lived[0]! < 0.9 * 86_400_000)
  await rm(lab.certDir, { recursive: true })
  t.ok(identity.servingCertificate(), 'what is in memory does not need its file')
})

t.test('only what a node signed itself counts as its own', async t => {
  t.ok(isSelfMade({ issuer: 'CN=n1-ca@1700000000' }))
  t.notOk(isSelfMade({ issuer: 'O=Example\nCN=example-ca' }))
})
