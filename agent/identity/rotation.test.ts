import { readdir, readFile, readlink, rename, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readKubeconfig } from '../../api/kube/kubeconfig.ts'
import { Fault } from '../../host/fault.ts'
import { type Pair, parsePair } from './certificate.ts'
import type { Identity } from './identity.ts'
import { createLab, type Lab } from './lab.fake.ts'
import { makeX509, newKey } from './x509.ts'

const dayMs = 86_400_000
const hourMs = 3_600_000

const joined = async (t: Test): Promise<{ lab: Lab; identity: Identity; changes: Pair[] }> => {
  const lab = await createLab(end => t.teardown(end))
  const identity = lab.identity()
  const done = identity.bootstrap()
  await lab.advanceUntil(() => lab.lines.some(it => /bootstrap done/.test(it.message)), 'the bootstrap')
  await done
  const changes: Pair[] = []
  identity.onClientChange(pair => changes.push(pair))
  await identity.startClient(lab.api)
  await lab.eventually(() => changes.length === 1, 'the certificate')
  return { lab, identity, changes }
}

t.test('a client certificate is replaced at 80 % of its day, the link leads to the new one', async t => {
  const { lab, identity, changes } = await joined(t)
  const link = join(lab.certDir, 'kubelet-client-current.pem')
  const before = await readlink(link)
  await lab.clock.advance(0.79 * dayMs)
  t.equal(lab.signer.seen.length, 1, 'not before')
  await lab.advanceUntil(() => changes.length === 2, 'the rotation', 60_000)
  const after = changes[1]!
  t.equal(identity.clientCertificate(), after)
  t.not(await readlink(link), before)
  t.match(await readdir(lab.certDir), { length: 3 }, 'the old file stays, as a kubelet leaves it')
  t.equal(
    (await readKubeconfig(lab.kubeconfig)).certificate?.pem.trim(),
    `${after.cert}${after.key}`.trim(),
    'the kubeconfig names the new one',
  )
  t.not(after.key, changes[0]?.key, 'with a key of its own')
  t.equal(identity.figures().clientNotAfter, after.facts.notAfter)
  t.equal(lab.signer.seen[1]?.metadata.name.startsWith('csr-'), true)
})

t.test('an apiserver that is away is one line and counted failures; the old certificate stays in use', async t => {
  const { lab, identity, changes } = await joined(t)
  const back = lab.api.react({}, () => {
    throw new Fault('api-away', 'no answer')
  })
  await lab.clock.advance(0.79 * dayMs)
  await lab.advanceUntil(() => identity.figures().clientRenewErrors >= 4, 'failures', 5000)
  t.equal(identity.clientCertificate(), changes[0])
  t.equal(lab.lines.filter(it => /not renewed/.test(it.message)).length, 1)
  back()
  await lab.advanceUntil(() => changes.length === 2, 'the rotation', 5000)
})

t.test(
  'a certificate that ended while the apiserver was away is no longer offered, and renewed with the bootstrap token',
  async t => {
    const { lab, identity, changes } = await joined(t)
    const back = lab.api.react({}, () => {
      throw new Fault('api-away', 'no answer')
    })
    await lab.advanceUntil(
      () => lab.lines.some(it => /client certificate ended at .* not renewed/.test(it.message)),
      'the end',
      hourMs,
    )
    t.equal(identity.clientCertificate(), undefined)
    t.equal(identity.figures().clientNotAfter, undefined)
    back()
    const before = lab.connected.length
    await lab.advanceUntil(() => changes.length === 2, 'the rotation', 5000)
    t.equal(lab.connected[before], lab.bootstrapKubeconfig)
  },
)

t.test('a file that somebody else put there is used within a minute', async t => {
  const { lab, identity, changes } = await joined(t)
  const key = newKey()
  const request = await makeX509({
    make: 'request',
    key,
    subject: { commonName: 'system:node:n1', organizations: ['system:nodes'], dnsNames: [], addresses: [] },
  })
  const foreign = parsePair(await lab.signer.sign(request), key, 'test')
  await writeFile(join(lab.certDir, 'foreign.pem'), foreign.cert + foreign.key)
  await symlink(join(lab.certDir, 'foreign.pem'), join(lab.certDir, 'link'))
  await rename(join(lab.certDir, 'link'), join(lab.certDir, 'kubelet-client-current.pem'))
  const from = lab.clock.now()
  await lab.clock.advance(58_000)
  // In small steps: files are read in the machine's own time.
  await lab.advanceUntil(() => changes.length === 2, 'the foreign certificate', 50)
  t.ok(lab.clock.now() - from <= 62_000)
  t.equal(identity.clientCertificate()?.facts.fingerprint, foreign.facts.fingerprint)
  t.equal(lab.signer.seen.length, 1, 'and nothing is requested')
})

t.test('a broken file is one line, the certificate in use stays', async t => {
  const { lab, identity, changes } = await joined(t)
  await writeFile(join(lab.certDir, 'kubelet-client-current.pem'), 'torn')
  await lab.clock.advance(61_000)
  await lab.eventually(() => lab.lines.some(it => it.level === 'warn'), 'the line')
  t.equal(identity.clientCertificate(), changes[0])
})

t.test('a certificate inside the kubeconfig goes into the folder and is replaced right away', async t => {
  const { lab } = await joined(t)
  const { pem } = (await readKubeconfig(lab.kubeconfig)).certificate!
  const data = (text: string) => Buffer.from(text).toString('base64')
  const second = join(lab.root, 'pki2')
  const user = { 'client-certificate-data': data(pem), 'client-key-data': data(pem) }
  const text = (await readFile(lab.bootstrapKubeconfig, 'utf8')).replace(/\{token: .*?\}/, JSON.stringify(user))
  await writeFile(lab.kubeconfig, text)
  const identity = lab.identity({ certDir: second, bootstrapKubeconfig: undefined })
  await identity.bootstrap()
  await identity.startClient(lab.api)
  await lab.advanceUntil(() => lab.signer.seen.length === 2, 'the request', 10)
  await lab.advanceUntil(() => identity.figures().clientNotAfter !== parsePair(pem, pem, 'old').facts.notAfter, 'the new one')
  t.equal((await readdir(second)).filter(name => /^kubelet-client-20.*\.pem$/.test(name)).length >= 1, true)
  t.not((await readFile(join(second, 'kubelet-client-current.pem'), 'utf8')).trim(), pem.trim())
  t.equal(await readFile(lab.kubeconfig, 'utf8'), text, 'a kubeconfig that is not ours is not touched')
})

t.test('a token in the kubeconfig is left as it is', async t => {
  const lab = await createLab(end => t.teardown(end))
  const identity = lab.identity({ kubeconfig: lab.bootstrapKubeconfig })
  await identity.bootstrap()
  await identity.startClient(lab.api)
  await lab.clock.advance(dayMs)
  t.equal(lab.signer.seen.length, 0)
  t.equal(identity.clientCertificate(), undefined)
})

t.test('without rotateCertificates nothing is requested', async t => {
  const { lab } = await joined(t)
  const identity = lab.identity({ rotateCertificates: false, certDir: join(lab.root, 'other') })
  await identity.startClient(lab.api)
  t.equal(identity.clientCertificate(), undefined)
})
