import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { nodeKubeconfig } from './node-kubeconfig.ts'
import { createPairStore, stateOf } from './pair-store.ts'
import { makeX509, newKey } from './x509.ts'

const now = Date.parse('2030-01-02T03:04:05Z')

const folderFor = async (t: Test): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-pairs-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return join(folder, 'pki')
}
const made = async (host: string) => {
  const key = newKey()
  return { key, cert: await makeX509({ make: 'self-signed', key, host, dnsNames: [host], addresses: [], now }) }
}

t.test('an update writes one file for root only and leads the link to it', async t => {
  const folder = await folderFor(t)
  const store = createPairStore(folder, 'kubelet-client')
  t.equal(await store.current(), undefined)
  const first = await made('a')
  const pair = await store.update(first.cert, first.key, now)
  t.same((await readdir(folder)).toSorted(), ['kubelet-client-2030-01-02-03-04-05.pem', 'kubelet-client-current.pem'])
  t.equal(await readlink(store.currentPath), join(folder, 'kubelet-client-2030-01-02-03-04-05.pem'))
  t.equal((await stat(store.currentPath)).mode & 0o777, 0o600)
  t.equal((await stat(folder)).mode & 0o777, 0o755)
  t.same((await store.current())?.facts, pair.facts)
})

t.test('a key that is not the certificate’s is never put in place', async t => {
  const folder = await folderFor(t)
  const store = createPairStore(folder, 'kubelet-client')
  const good = await made('a')
  await store.update(good.cert, good.key, now)
  await t.rejects(store.update((await made('b')).cert, newKey(), now + 1000), { code: 'certificate' })
  t.same((await store.current())?.facts.dnsNames, ['a'])
})

t.test('a kubelet that was killed while it moved the link left a link of another name, which is taken', async t => {
  const folder = await folderFor(t)
  const store = createPairStore(folder, 'kubelet-client')
  const { cert, key } = await made('a')
  await mkdir(folder)
  await writeFile(join(folder, 'old.pem'), cert + key)
  await symlink(join(folder, 'old.pem'), join(folder, 'kubelet-client-updated.pem'))
  t.same((await store.current())?.facts.dnsNames, ['a'])
  t.same((await readdir(folder)).toSorted(), ['kubelet-client-current.pem', 'old.pem'])
})

t.test('a plain file where the link belongs is not overwritten', async t => {
  const folder = await folderFor(t)
  const store = createPairStore(folder, 'kubelet-client')
  const { cert, key } = await made('a')
  await mkdir(folder)
  await writeFile(store.currentPath, 'somebody’s')
  await t.rejects(store.update(cert, key, now), {
    code: 'io',
    message: /kubelet-client-current\.pem is a file where a symbolic link belongs/,
  })
  t.equal(await readFile(store.currentPath, 'utf8'), 'somebody’s')
})

t.test('a folder that cannot be made is named', async t => {
  const folder = await folderFor(t)
  const { cert, key } = await made('a')
  await writeFile(folder, '')
  await t.rejects(createPairStore(join(folder, 'pki'), 'kubelet-client').update(cert, key, now), { code: 'io', message: /pki/ })
})

t.test('a file that is replaced, or that a link leads to instead, has another state', async t => {
  const folder = await folderFor(t)
  await mkdir(folder)
  const [a, b, link] = [join(folder, 'a'), join(folder, 'b'), join(folder, 'link')]
  t.equal(await stateOf(link), '')
  await writeFile(a, '1')
  await writeFile(b, '1')
  await symlink(a, link)
  const before = await stateOf(link)
  t.equal(await stateOf(link), before)
  await rm(link)
  await symlink(b, link)
  t.not(await stateOf(link), before)
})

t.test('the kubeconfig keeps how the bootstrap’s reaches its cluster', async t => {
  const ca = { pem: 'PEM', from: '/etc/kubernetes/pki/ca.crt' }
  const base = { server: 'https://10.0.0.1:6443', insecure: false, files: [] }
  const inFile = nodeKubeconfig({ ...base, ca, files: ['/boot.conf', ca.from], serverName: 'kubernetes' }, '/pki/current.pem')
  t.match(inFile, /certificate-authority: \/etc\/kubernetes\/pki\/ca\.crt\n/)
  t.match(inFile, /tls-server-name: kubernetes\n/)
  t.match(nodeKubeconfig({ ...base, ca: { pem: 'PEM', from: 'inline' } }, '/p'), /certificate-authority-data: UEVN\n/)
  t.match(nodeKubeconfig({ ...base, insecure: true }, '/p'), /insecure-skip-tls-verify: true\n/)
})
