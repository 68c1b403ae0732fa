import { lstat, mkdir, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { certificateSigningRequests } from '../../api/kube/api.ts'
import { readKubeconfig } from '../../api/kube/kubeconfig.ts'
import { Fault } from '../../host/fault.ts'
import { hopeless, standingOf } from './bootstrap.ts'
import { createLab, type Lab } from './lab.fake.ts'
import { pauseAfter, refusedReason } from './pause.ts'
import { makeX509, newKey } from './x509.ts'

const modeOf = async (path: string) => (await stat(path)).mode & 0o777
const labFor = (t: Test) => createLab(end => t.teardown(end))
const requests = (lab: Lab) => lab.api.all(certificateSigningRequests)

t.test('a node with a token gets its certificate, the files of a kubelet and a kubeconfig', async t => {
  const lab = await labFor(t)
  const done = lab.identity().bootstrap()
  await lab.advanceUntil(() => requests(lab).length > 0, 'the request')
  await lab.advanceUntil(() => lab.lines.some(it => /bootstrap done/.test(it.message)), 'the end')
  await done
  const current = join(lab.certDir, 'kubelet-client-current.pem')
  t.ok((await lstat(current)).isSymbolicLink())
  t.match(await readlink(current), /\/pki\/kubelet-client-2023-11-14-22-13-\d\d\.pem$/)
  t.equal(await modeOf(current), 0o600)
  t.equal(await modeOf(lab.kubeconfig), 0o600)
  t.match(await readFile(current, 'utf8'), /^-----BEGIN CERTIFICATE-----[\s\S]+-----BEGIN EC PRIVATE KEY-----/)
  t.notOk((await readdir(lab.certDir)).includes('kubelet-client.key.tmp'), 'the kept key is gone')
  const config = await readKubeconfig(lab.kubeconfig)
  t.match(config, { server: 'https://10.0.0.1:6443', certificate: { from: current }, key: { from: current } })
  t.match(config.ca?.pem, /AAAA/)
  t.match(await readFile(lab.kubeconfig, 'utf8'), /current-context: default-context/)
  t.match(lab.signer.seen[0], { metadata: { name: /^node-csr-/ }, spec: { usages: ['digital signature', 'client auth'] } })
  t.same(lab.connected, [lab.bootstrapKubeconfig])
  await lab.identity().bootstrap()
  t.equal(requests(lab).length, 1, 'a kubeconfig that is valid is left alone')
})

t.test('an attempt that was cut off goes on with its key and its request', async t => {
  const lab = await labFor(t)
  await lab.signer.rule('leave')
  const stop = new AbortController()
  const first = lab.identity().bootstrap(stop.signal)
  await lab.advanceUntil(() => lab.signer.seen.length === 1, 'the request')
  stop.abort()
  await t.rejects(first)
  const kept = join(lab.certDir, 'kubelet-client.key.tmp')
  const key = await readFile(kept, 'utf8')
  t.equal(await modeOf(kept), 0o600)
  await lab.signer.rule('issue')
  const second = lab.identity().bootstrap()
  await lab.advanceUntil(() => lab.lines.some(it => /bootstrap done/.test(it.message)), 'the end')
  await second
  t.equal(lab.signer.seen.length, 1)
  t.ok((await readFile(join(lab.certDir, 'kubelet-client-current.pem'), 'utf8')).includes(key.trim()))
  t.ok(lab.lines.some(it => /was requested already/.test(it.message)))
})

t.test('a denied request is said once with its reason, and another one is made later', async t => {
  const lab = await labFor(t)
  await lab.signer.rule('deny')
  const done = lab.identity().bootstrap()
  await lab.advanceUntil(() => lab.lines.some(it => it.level === 'warn'), 'the line')
  const [line] = lab.lines.filter(it => it.level === 'warn')
  t.match(String((line?.fields['err'] as Error | undefined)?.message), /node-csr-\S+ was denied: Policy: not this node/)
  t.equal(line?.fields['retryMs'], 60_000)
  await lab.signer.rule('issue')
  await lab.advanceUntil(() => lab.lines.some(it => /bootstrap done/.test(it.message)), 'the end', 5000)
  await done
  t.equal(lab.signer.seen.length, 2)
  t.not(lab.signer.seen[0]?.metadata.name, lab.signer.seen[1]?.metadata.name, 'under another name, for another key')
})

t.test('a request that waits for a person says how to approve it', async t => {
  const lab = await labFor(t)
  await lab.signer.rule('leave')
  const done = lab.identity().bootstrap()
  await lab.advanceUntil(() => lab.lines.some(it => /kubectl certificate approve node-csr-/.test(it.message)), 'the line')
  await lab.signer.rule('issue')
  await lab.advanceUntil(() => lab.lines.some(it => /bootstrap done/.test(it.message)), 'the end')
  await done
  t.equal(lab.signer.seen.length, 1, 'and is waited for')
})

t.test('an apiserver that is away is asked until it is back, with one line', async t => {
  const lab = await labFor(t)
  const back = lab.api.react({}, () => {
    throw new Fault('api-away', 'connect ECONNREFUSED 10.0.0.1:6443')
  })
  const done = lab.identity().bootstrap()
  await lab.advanceUntil(() => lab.api.calls.length >= 4, 'four attempts')
  t.equal(lab.lines.filter(it => it.level === 'warn').length, 1)
  back()
  await lab.advanceUntil(() => lab.lines.some(it => /bootstrap done/.test(it.message)), 'the end', 5000)
  await done
})

t.test(
  'a certificate that ended is bootstrapped again, and without a bootstrap kubeconfig the error says what to do',
  async t => {
    const lab = await labFor(t)
    lab.signer.lifeMs = 60_000
    const done = lab.identity().bootstrap()
    await lab.advanceUntil(() => lab.lines.some(it => /bootstrap done/.test(it.message)), 'the end')
    await done
    await lab.clock.advance(120_000)
    await t.rejects(lab.identity({ bootstrapKubeconfig: undefined }).bootstrap(), {
      code: 'certificate',
      retry: 'never',
      message:
        /client certificate in \S+kubelet-client-current\.pem, which kubeconfig \S+kubelet\.conf names, was valid until 2023-11-14T22:1\d:\d\d.*--bootstrap-kubeconfig/,
    })
    const again = lab.identity().bootstrap()
    await lab.advanceUntil(() => lab.lines.filter(it => /bootstrap done/.test(it.message)).length === 2, 'the second end')
    await again
    t.equal(lab.signer.seen.length, 2)
  },
)

t.test('a missing kubeconfig and no bootstrap kubeconfig is an error that names the file', async t => {
  const lab = await labFor(t)
  await t.rejects(lab.identity({ bootstrapKubeconfig: undefined }).bootstrap(), {
    code: 'bad-config',
    message: /kubelet\.conf does not exist/,
  })
})

t.test('a kubeconfig whose certificate file is missing is bootstrapped again', async t => {
  const lab = await labFor(t)
  await mkdir(lab.certDir)
  const text = (await readFile(lab.bootstrapKubeconfig, 'utf8')).replace(
    /token: .*?}/,
    'client-certificate: pki/no.pem, client-key: pki/no.pem}',
  )
  await writeFile(lab.kubeconfig, text)
  const done = lab.identity().bootstrap()
  await lab.advanceUntil(() => lab.lines.some(it => /bootstrap done/.test(it.message)), 'the end')
  await done
  t.match(lab.lines[0]?.message, /kubelet\.conf cannot be used.*no\.pem/)
})

t.test('what a kubeconfig is worth', async t => {
  const now = Date.parse('2030-06-01T00:00:00Z')
  const pem = await makeX509({ make: 'self-signed', key: newKey(), host: 'a', dnsNames: ['a'], addresses: [], now })
  const certificate = { pem, from: '/pki/a.pem' }
  const end = Date.parse('2031-05-31T23:00:00Z')
  t.same(standingOf({ certificate }, now), { is: 'valid', until: end })
  t.same(standingOf({ certificate }, end + 1), { is: 'ended', file: '/pki/a.pem', at: end })
  t.same(standingOf({}, now), { is: 'valid', until: undefined }, 'a token has no end that is known here')
  t.match(standingOf({ certificate: { pem: 'x', from: '/pki/a.pem' } }, now), { is: 'unusable' })
  t.equal(hopeless({ is: 'valid', until: end }, '/k'), undefined)
})

for (const [name, error, failures, expected] of [
  ['what may pass is tried again after 2 s', new Fault('api-away', ''), 1, 2000],
  ['and then less and less often', new Fault('api-away', ''), 3, 8000],
  ['but at least every 32 s', new Fault('api-away', ''), 30, 32_000],
  ['a busy apiserver is asked when it says', new Fault('api-busy', '', { retryAfterMs: 50_000 }), 1, 50_000],
  ['a refusal stands for a minute', new Fault('certificate', '', { reason: refusedReason }), 1, 60_000],
  ['and ten in the end', new Fault('certificate', '', { reason: refusedReason }), 9, 600_000],
] as const) {
  t.test(name, async t => t.equal(pauseAfter(error, failures), expected))
}
