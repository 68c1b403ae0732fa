// Storage that outlives pods: claims that the controller manager binds to volumes, mounted by the node for the pods that name them.
import { access, chmod, mkdir, readdir, readFile, stat } from 'node:fs/promises'
import type { Test } from 'tap'
import type { Pod } from '../../api/types.ts'
import type { Cluster } from '../support/cluster.ts'
import { createClusterPods } from '../support/cluster-pods.ts'
import { bareScript, idle, podOf } from '../support/manifests.ts'
import { isReady } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const storage = { accessModes: ['ReadWriteOnce'] }
const isWaiting = ({ status }: Pod) => status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ContainerCreating'
const volumeOf = (name: string, spec: object) => ({
  ...{ apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name } },
  spec: { ...storage, capacity: { storage: '1Gi' }, storageClassName: '', ...spec },
})
/** Of no storage class: bound to a volume that is there, or not at all. */
const claimSpec = (volumeName: string, size = '1Gi') => ({
  ...storage,
  ...{ storageClassName: '', resources: { requests: { storage: size } }, volumeName },
})
const claimOf = (name: string, volumeName: string) => ({
  ...{ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name } },
  spec: claimSpec(volumeName),
})
const onNode = (name: string) => ({
  required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [name] }] }] },
})
const using = (claimName: string, more: object = {}) => [{ name: 'data', persistentVolumeClaim: { claimName, ...more } }]
const mounted = (more: object = {}) => ({ volumeMounts: [{ name: 'data', mountPath: '/data', ...more }] })

export const claims = async (t: Test, { controlPlane, nodes }: Cluster): Promise<void> => {
  const { kubectl, apply, get } = controlPlane
  const pods = createClusterPods(controlPlane)
  const node = nodes[0]!
  const nodeName = node.name
  const create = (name: string, container: object, spec: object = {}) =>
    pods.create(podOf(name, container as never, { nodeName, ...spec }))
  const folder = async (name: string) => {
    const path = `${node.dir}/storage/${name}`
    await mkdir(path, { recursive: true })
    // Whatever the umask: what a pod may do here is to depend on its group alone.
    await chmod(path, 0o755)
    return path
  }
  const claim = (name: string) =>
    get<{ status?: { phase?: string } }>(`/api/v1/namespaces/default/persistentvolumeclaims/${name}`)
  const untilBound = (name: string) =>
    waitFor(`claim ${name} to be bound`, async () => (await claim(name)).status?.phase === 'Bound', 40_000)
  const isGone = (name: string) =>
    claim(name).then(
      () => false,
      (error: Error) => error.message.includes(' 404 '),
    )
  const messages = async () =>
    (await get<{ items: readonly { message?: string }[] }>('/api/v1/namespaces/default/events')).items
      .map(({ message }) => message)
      .join('\n')
  /** Nothing of the pod is on the node any more. */
  const folderGone = ({ metadata }: Pod) => {
    const folders = () => readdir(`${node.dir}/kubelet/pods`)
    return waitFor('its folder to go', async () => !(await folders()).includes(metadata.uid ?? ''), 30_000)
  }

  await t.test('a local volume: what one pod writes as its group another reads, and the folder outlives both', async t => {
    const path = await folder('local')
    await apply(volumeOf('local', { local: { path }, nodeAffinity: onNode(nodeName) }), claimOf('data', 'local'))
    await untilBound('data')
    const securityContext = { runAsUser: 1000, runAsGroup: 1000, fsGroup: 4321 }
    // No nodeName: the scheduler finds the node by its volume.
    const scheduled = { nodeName: undefined, securityContext }
    const text = 'mkdir -p /data/sub && echo hello >/data/sub/file && exec sleep infinity'
    await create('writer', bareScript(text, mounted()), { volumes: using('data'), ...scheduled })
    const writer = await pods.until('writer', isReady, 40_000)
    t.equal(writer.spec.nodeName, nodeName)
    await waitFor('the file', () => access(`${path}/sub/file`).then(() => true))
    t.equal((await stat(`${path}/sub/file`)).gid, 4321)
    t.equal((await stat(path)).mode & 0o7777, 0o2775)
    const only = { readOnly: true }
    await create('reader', idle(mounted()), { volumes: using('data', only), securityContext })
    await create('inside', idle(mounted({ subPath: 'sub' })), { volumes: using('data'), securityContext })
    await pods.until('reader', isReady)
    await pods.until('inside', isReady)
    t.equal(await pods.exec('reader', ['cat', '/data/sub/file']), 'hello')
    t.equal(await pods.exec('inside', ['cat', '/data/file']), 'hello')
    await t.rejects(pods.exec('reader', ['touch', '/data/sub/more']), /Read-only file system/)
    await pods.remove('reader', 'inside', 'writer')
    await folderGone(writer)
    t.equal(await readFile(`${path}/sub/file`, 'utf8'), 'hello\n')
  })

  await t.test('a hostPath volume is the path itself, and its files stay whose they are', async t => {
    const path = await folder('host')
    await apply(volumeOf('host', { hostPath: { path, type: 'Directory' } }), claimOf('host', 'host'))
    await untilBound('host')
    const spec = { volumes: using('host'), securityContext: { fsGroup: 4321 } }
    await create('hosted', bareScript('echo here >/data/file; exec sleep infinity', mounted()), spec)
    const pod = await pods.until('hosted', isReady)
    await waitFor('the file', () => access(`${path}/file`).then(() => true))
    t.equal((await stat(path)).gid, 0)
    await pods.remove('hosted')
    await folderGone(pod)
    t.equal(await readFile(`${path}/file`, 'utf8'), 'here\n')
  })

  await t.test('a pod whose claim is not bound waits, and starts when it is', async t => {
    await apply(claimOf('late', 'late'))
    await create('waits', idle(mounted()), { volumes: using('late') })
    await pods.until('waits', isWaiting)
    // The Go kubelet says so after two minutes.
    if (node.agent === 'nodelet') {
      const told = async () => (await pods.reasons('waits')).includes('FailedMount')
      await waitFor('the event', told)
      t.match(await messages(), /default\/late: PVC is not bound/)
    }
    await apply(volumeOf('late', { local: { path: await folder('late') }, nodeAffinity: onNode(nodeName) }))
    t.ok(await pods.until('waits', isReady, 60_000))
    await pods.remove('waits')
  })

  await t.test('a claim that is deleted under a pod stays until the pod is gone, whatever its containers do', async t => {
    await create('holder', idle(mounted()), { volumes: using('data') })
    await pods.until('holder', isReady)
    await kubectl(['delete', 'pvc/data', '--wait=false'])
    // It may end before its answer is out.
    await pods.exec('holder', ['kill', '1']).catch(() => undefined)
    await pods.until('holder', it => it.status?.containerStatuses?.[0]?.restartCount === 1 && isReady(it), 40_000)
    t.equal(await pods.exec('holder', ['cat', '/data/sub/file']), 'hello')
    t.notOk(await isGone('data'))
    await pods.remove('holder')
    t.ok(await waitFor('the claim to go', () => isGone('data'), 30_000))
  })

  await t.test('a restart of the agent finds the volumes of its pods, and takes them away with them', async t => {
    const path = await folder('stays')
    await apply(volumeOf('stays', { local: { path }, nodeAffinity: onNode(nodeName) }), claimOf('stays', 'stays'))
    await untilBound('stays')
    await create('survivor', idle(mounted()), { volumes: using('stays') })
    const pod = await pods.until('survivor', isReady)
    await node.kill9()
    await node.start()
    await node.whenReady()
    const write = () => pods.exec('survivor', ['sh', '-c', 'echo still >/data/file']).then(() => true)
    await waitFor('the agent to answer', write)
    t.equal((await pods.get('survivor')).status?.containerStatuses?.[0]?.restartCount, 0)
    await pods.remove('survivor')
    await folderGone(pod)
    t.equal(await readFile(`${path}/file`, 'utf8'), 'still\n')
  })

  await t.test("a pod's own claim comes and goes with it, and one of its name that is not its own is refused", async t => {
    await apply(volumeOf('own', { local: { path: await folder('own') }, nodeAffinity: onNode(nodeName) }))
    const volumes = [{ name: 'data', ephemeral: { volumeClaimTemplate: { spec: claimSpec('own') } } }]
    await create('owner', idle(mounted()), { volumes })
    await pods.until('owner', isReady, 60_000)
    await pods.remove('owner')
    t.ok(await waitFor('the claim to go', () => isGone('owner-data'), 30_000))
    const taken = { path: await folder('taken') }
    await apply(volumeOf('taken', { local: taken, nodeAffinity: onNode(nodeName) }), claimOf('thief-data', 'taken'))
    await untilBound('thief-data')
    await create('thief', idle(mounted()), { volumes })
    await pods.until('thief', isWaiting)
    if (node.agent === 'nodelet') {
      const isTold = async () =>
        /default\/thief-data was not created for pod default\/thief \(pod is not owner\)/.test(await messages())
      t.ok(await waitFor('the event', isTold))
    }
    await pods.remove('thief')
  })

  await t.test('a volume of another node is not mounted, and the pod says why', async t => {
    await apply(
      volumeOf('far', { local: { path: await folder('far') }, nodeAffinity: onNode('elsewhere') }),
      claimOf('far', 'far'),
    )
    await untilBound('far')
    await create('lost', idle(mounted()), { volumes: using('far') })
    await waitFor('the event', async () => (await pods.reasons('lost')).includes('FailedMount'), 30_000)
    t.match(await messages(), /MountVolume\.NodeAffinity check failed for volume "far" : no matching NodeSelectorTerms/)
    await pods.remove('lost')
  })

  await kubectl(['delete', 'pvc', '--all', '--timeout=30s'])
  await kubectl(['delete', 'pv', '--all', '--timeout=30s'])
  t.same((await get<{ items: readonly object[] }>('/api/v1/persistentvolumes')).items, [])
}
