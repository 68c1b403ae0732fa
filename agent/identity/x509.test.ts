import { createPublicKey } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import { systemExec } from '../../host/exec.ts'
import { parsePair } from './certificate.ts'
import { loadX509, makeX509, newKey, publicKeyOf } from './x509.ts'
import { makeX509Apart } from './x509-apart.ts'

const subject = {
  commonName: 'system:node:n1',
  organizations: ['system:nodes'],
  dnsNames: ['n1'],
  addresses: ['10.0.0.5', 'fd00::5'],
}

t.test('a request carries subject, names and key, and is signed by that key', async t => {
  const { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } = await loadX509()
  const key = newKey()
  const request = new Pkcs10CertificateRequest(await makeX509({ make: 'request', key, subject }))
  t.equal(request.subject, 'O=system:nodes, CN=system:node:n1')
  t.ok(await request.verify())
  t.same(Buffer.from(request.publicKey.rawData), publicKeyOf(key))
  const names = request.extensions.find(it => it instanceof SubjectAlternativeNameExtension)?.names.toJSON()
  t.same(names, [
    { type: 'dns', value: 'n1' },
    { type: 'ip', value: '10.0.0.5' },
    { type: 'ip', value: 'fd00::5' },
  ])
})

t.test('one without alternative names has no such extension: the client signer refuses an empty one', async t => {
  const { Pkcs10CertificateRequest } = await loadX509()
  const pem = await makeX509({ make: 'request', key: newKey(), subject: { ...subject, dnsNames: [], addresses: [] } })
  t.same(new Pkcs10CertificateRequest(pem).extensions, [])
})

t.test('a key is EC P-256 in the form that a kubelet writes', async t => {
  const key = newKey()
  t.match(key, /^-----BEGIN EC PRIVATE KEY-----\n/)
  t.match(createPublicKey(key).asymmetricKeyDetails, { namedCurve: 'prime256v1' })
})

t.test('nothing of the library’s demands on the global objects stays', async t => {
  await loadX509()
  t.same(
    Object.getOwnPropertyNames(Reflect).filter(name => /metadata/i.test(name)),
    [],
  )
})

t.test('another process makes the same, and what it cannot read is a fault', async t => {
  const script = `process.exitCode = await (await import(${JSON.stringify(join(import.meta.dirname, 'x509-apart.ts'))})).runX509()`
  const make = makeX509Apart({ exec: systemExec, argv: [process.execPath, '--input-type=module', '-e', script] })
  const key = newKey()
  const pem = await make({ make: 'self-signed', key, host: 'n1', dnsNames: ['n1'], addresses: [], now: 1_700_000_000_000 })
  t.same(parsePair(pem, key, 'apart').facts.dnsNames, ['n1'])
  await t.rejects(make({ make: 'request', key: 'torn', subject }), { code: 'command' })
})
