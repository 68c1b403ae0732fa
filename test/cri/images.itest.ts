// Images: pulled from a registry, refused by one, not there at all; and what the user reads then.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { systemExec } from '../../host/exec.ts'
import { imageArchives, peculiarImage } from '../support/images.ts'
import { idle, podOf, secret } from '../support/manifests.ts'
import { createNode, isReady, nodeIP, statusOf, waitingReason } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const open = `${nodeIP}:5000`
const closed = `${nodeIP}:5001`

const node = await createNode()
t.setTimeout(0)
t.teardown(() => node.close())

// The image as a registry has it, and containerd's leave to speak to these without TLS.
const folder = `${node.dir}/image`
const [archive] = await imageArchives([peculiarImage])
await systemExec.run(['skopeo', 'copy', '-q', `oci-archive:${archive}`, `dir:${folder}`])
for (const registry of [open, closed]) {
  await mkdir(`${node.containerd.dir}/certs.d/${registry}`, { recursive: true })
  const hosts = `server = "http://${registry}"\n[host."http://${registry}"]\n  capabilities = ["pull", "resolve"]\n`
  await writeFile(`${node.containerd.dir}/certs.d/${registry}/hosts.toml`, hosts)
}

/** A registry in the node's namespace; `requests` is what it was asked. */
const startRegistry = async (address: string, ...password: readonly string[]) => {
  const [host = '', port = ''] = address.split(':')
  const requests: string[] = []
  const argv = [process.execPath, join(import.meta.dirname, '../support/registry.ts'), host, port, folder, ...password]
  const registry = node.netns.exec.watch(argv, line => requests.push(line))
  await waitFor('the registry', () => requests.includes('listening'))
  return { requests, stop: () => registry.stop() }
}
const clear = async (name: string) => {
  await node.remove(`${name}.json`)
  await node.gone(name)
}

t.test('an image that is not there is pulled once, however many wait for it', async t => {
  const registry = await startRegistry(open)
  t.teardown(() => registry.stop())
  const image = `${open}/image:1`
  await node.write(
    'pulls.json',
    [1, 2, 3].map(it => podOf(`pulls-${it}`, idle({ image }))),
  )
  const [pod] = await Promise.all([1, 2, 3].map(it => node.until(`pulls-${it}`, isReady)))
  t.equal(pod && statusOf(pod)?.image, image)
  t.equal(registry.requests.filter(it => /^HEAD .*manifests/.test(it)).length, 1)
  t.match((await node.messages()).join('\n'), /Successfully pulled image ".*:5000\/image:1" in .* Image size: \d+ bytes\./)
  await node.remove('pulls.json')
  await Promise.all([1, 2, 3].map(it => node.gone(`pulls-${it}`)))
})

t.test('a registry that wants a password gets that of imagePullSecrets', async t => {
  const registry = await startRegistry(closed, 'somebody:secret')
  t.teardown(() => registry.stop())
  const auth = Buffer.from('somebody:secret').toString('base64')
  const config = { '.dockerconfigjson': JSON.stringify({ auths: { [closed]: { auth } } }) }
  await node.write('auth.json', secret('registry', config, { type: 'kubernetes.io/dockerconfigjson' }))
  const image = `${closed}/image:1`
  await node.write('denied.json', podOf('denied', idle({ image })))
  const denied = await node.until('denied', it => /^(ErrImagePull|ImagePullBackOff)$/.test(waitingReason(it) ?? ''))
  t.match(statusOf(denied)?.state?.waiting?.message, /401|authorization|no basic auth/i)
  await node.write('allowed.json', podOf('allowed', idle({ image }), { imagePullSecrets: [{ name: 'registry' }] }))
  await node.until('allowed', isReady)
  await clear('denied')
  await clear('allowed')
})

t.test('an image that cannot be pulled: ErrImagePull, then ImagePullBackOff, then it comes', async t => {
  const image = `${open}/image:1`
  await systemExec.run(['ctr', '-a', node.containerd.socket, '-n', 'k8s.io', 'images', 'rm', '--sync', image])
  const started = performance.now()
  await node.write('late.json', [podOf('late', idle({ image, imagePullPolicy: 'Always' })), podOf('beside', idle())])
  const first = await node.until('late', it => waitingReason(it) === 'ErrImagePull')
  t.match(statusOf(first)?.state?.waiting?.message, /failed to pull and unpack image ".*:5000\/image:1".*connection refused/)
  const then = await node.until('late', it => waitingReason(it) === 'ImagePullBackOff')
  t.match(statusOf(then)?.state?.waiting?.message, /^Back-off pulling image ".*:5000\/image:1": ErrImagePull: /)
  t.equal(then.status?.phase, 'Pending')
  t.match((await node.cli(['get', 'pods', 'late'])).stdout, /0\/1 +ImagePullBackOff +0 /)
  t.match((await node.cli(['why', 'late'])).stdout, /What to do: check the name and tag of the image/)
  await node.until('beside', isReady)
  const registry = await startRegistry(open)
  t.teardown(() => registry.stop())
  await node.until('late', isReady)
  t.ok(performance.now() - started < 13_000, `after ${Math.round(performance.now() - started)} ms`)
  await node.remove('late.json')
  await Promise.all([node.gone('late'), node.gone('beside')])
})

t.test('an image that the registry does not have', async t => {
  const registry = await startRegistry(open)
  t.teardown(() => registry.stop())
  await node.write('none.json', podOf('none', idle({ image: `${open}/other:1` })))
  const pod = await node.until('none', it => waitingReason(it) === 'ErrImagePull')
  t.match(statusOf(pod)?.state?.waiting?.message, /:5000\/other:1": not found|:5000\/other:1: not found/)
  await clear('none')
})

t.test('never pulled where the policy says so; an impossible name is told at once', async t => {
  await node.write('names.json', [
    podOf('never', idle({ image: 'nodelet.dev/absent:1', imagePullPolicy: 'Never' })),
    podOf('wrong', idle({ image: 'Not An Image' })),
    podOf('present', idle({ imagePullPolicy: 'Never' })),
  ])
  const never = await node.until('never', it => waitingReason(it) === 'ErrImageNeverPull')
  t.equal(
    statusOf(never)?.state?.waiting?.message,
    'Container image "nodelet.dev/absent:1" is not present with pull policy of Never',
  )
  const wrong = await node.until('wrong', it => waitingReason(it) === 'InvalidImageName')
  t.match(statusOf(wrong)?.state?.waiting?.message, /Not An Image/)
  await node.until('present', isReady)
  await node.remove('names.json')
  await Promise.all(['never', 'wrong', 'present'].map(it => node.gone(it)))
})
