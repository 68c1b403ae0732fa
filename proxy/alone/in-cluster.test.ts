// A proxy that runs as a pod finds the apiserver by its service account; any other needs a kubeconfig.
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { readKubeconfig } from '../../api/kube/kubeconfig.ts'
import { writeInClusterKubeconfig } from './in-cluster.ts'

const folder = await mkdtemp(join(tmpdir(), 'nlt-in-cluster-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const account = join(folder, 'account')
const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' }

t.test('outside of a pod a kubeconfig is asked for, and which flag takes it', async t => {
  const asked = { code: 'bad-config', message: /clientConnection\.kubeconfig: required: .* --kubeconfig/ }
  await t.rejects(writeInClusterKubeconfig(folder, env, account), asked, 'no service account')
  await t.rejects(writeInClusterKubeconfig(folder, {}, folder), asked, 'no Service of the apiserver')
})

t.test('a pod has its token, the authority, and the address of the Service', async t => {
  await mkdir(account)
  await writeFile(join(account, 'token'), 'secret\n')
  await writeFile(join(account, 'ca.crt'), '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n')
  const path = await writeInClusterKubeconfig(folder, env, account)
  const read = await readKubeconfig(path)
  t.match(read, { server: 'https://[fd00::1]:443', token: 'secret' })
  t.ok(read.ca?.pem.includes('MIIB'))
  t.ok(read.files.includes(join(account, 'token')), 'a renewed token is seen')
  t.equal((await stat(path)).mode & 0o777, 0o600)
})
