// What a pod of the apiserver gets on a node and how it ends: its objects, its token, its deadlines; Jobs and DaemonSets; static pods as
// the apiserver shows them; pods that the node refuses or that wait for what never comes.
import { readdir, rm, writeFile } from 'node:fs/promises'
import type { Test } from 'tap'
import type { Pod } from '../../api/types.ts'
import type { Cluster } from '../support/cluster.ts'
import { createClusterPods } from '../support/cluster-pods.ts'
import { busyboxImage } from '../support/images.ts'
import { bareScript, configMap, idle, podOf, script, secret } from '../support/manifests.ts'
import { isReady } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const isRunning = ({ status }: Pod) => status?.phase === 'Running'
const conditionOf = ({ status }: Pod, type: string) => status?.conditions?.find(it => it.type === type)

export const podsOfApiserver = async (t: Test, { controlPlane, nodes }: Cluster): Promise<void> => {
  const { kubectl, apply, send, get } = controlPlane
  const pods = createClusterPods(controlPlane)
  const node = nodes[0]!
  const nodeName = node.name
  const create = (name: string, container: object, spec: object = {}, metadata: object = {}) =>
    pods.create(podOf(name, container as never, { nodeName, ...spec }, metadata as never))

  await t.test('what happens to a pod is told in events', async t => {
    await create('told', idle())
    await pods.until('told', isReady)
    const told = async () => [...new Set(await pods.reasons('told'))].filter(it => it !== 'Scheduled').toSorted()
    await waitFor('the events of a start', async () => `${await told()}` === 'Created,Pulled,Started')
    await pods.remove('told')
    t.ok(await waitFor('the event of the end', async () => (await pods.reasons('told')).includes('Killing')))
  })

  await t.test('a volume follows its ConfigMap, a variable keeps what it was', async t => {
    await apply(configMap('settings', { mode: 'first' }), secret('key', { word: 'hidden' }))
    const volumes = [{ name: 'v', configMap: { name: 'settings' } }]
    const from = (kind: string, name: string, key: string) => ({ valueFrom: { [kind]: { name, key } } })
    const env = [
      { name: 'MODE', ...from('configMapKeyRef', 'settings', 'mode') },
      { name: 'WORD', ...from('secretKeyRef', 'key', 'word') },
    ]
    await create('reads', idle({ env, volumeMounts: [{ name: 'v', mountPath: '/v' }] }), { volumes })
    await pods.until('reads', isReady)
    t.equal(await pods.exec('reads', ['sh', '-c', 'cat /v/mode; echo " $MODE $WORD"']), 'first first hidden')
    await apply(configMap('settings', { mode: 'second' }))
    await waitFor('the new text in the volume', async () => (await pods.exec('reads', ['cat', '/v/mode'])) === 'second', 90_000)
    t.equal(await pods.exec('reads', ['sh', '-c', 'echo $MODE $WORD']), 'first hidden')
    await pods.remove('reads')
    await kubectl(['delete', 'configmap/settings', 'secret/key'])
  })

  await t.test('the token in a pod is good for the apiserver, by the address of its Service', async t => {
    await create('holder', idle())
    await pods.until('holder', isReady)
    const read = (file: string) => pods.exec('holder', ['cat', `/var/run/secrets/kubernetes.io/serviceaccount/${file}`])
    const [token, ca] = await Promise.all([read('token'), read('ca.crt')])
    await writeFile(`${node.dir}/ca.crt`, ca)
    const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' }
    const options = ['--cacert', `${node.dir}/ca.crt`, '--header', `Authorization: Bearer ${token}`, '--noproxy', '*']
    const json = ['--header', 'Content-Type: application/json', '--data', JSON.stringify(review)]
    const url = 'https://10.96.0.1/apis/authentication.k8s.io/v1/selfsubjectreviews'
    const { stdout } = await node.netns.run(['curl', '-sS', '--fail', ...options, ...json, url])
    const { username, extra } = (JSON.parse(stdout) as { status: { userInfo: UserInfo } }).status.userInfo
    t.equal(username, 'system:serviceaccount:default:default')
    t.same(extra['authentication.kubernetes.io/pod-name'], ['holder'], 'it is bound to the pod')
    t.same(extra['authentication.kubernetes.io/node-name'], [nodeName])
    await pods.remove('holder')
  })

  await t.test('a pod that outlives its deadline fails', async t => {
    await create('late', idle(), { activeDeadlineSeconds: 2 })
    const { status } = await pods.until('late', it => it.status?.phase === 'Failed', 30_000)
    t.equal(status?.reason, 'DeadlineExceeded')
    await pods.remove('late')
  })

  await t.test('a readiness gate holds a pod back until somebody says True', async t => {
    await create('gated', idle(), { readinessGates: [{ conditionType: 'example.org/fit' }] })
    const waiting = await pods.until('gated', it => conditionOf(it, 'ContainersReady')?.status === 'True')
    t.match(conditionOf(waiting, 'Ready'), { status: 'False', reason: 'ReadinessGatesNotReady' })
    const status = { conditions: [{ type: 'example.org/fit', status: 'True' }] }
    await send('PATCH', '/api/v1/namespaces/default/pods/gated/status', { status })
    await pods.until('gated', isReady)
    await pods.remove('gated')
  })

  await t.test('another image for a container that runs starts it anew, the pod stays', async t => {
    await create('changed', script('exec sleep infinity', { image: busyboxImage }))
    const before = await pods.until('changed', isReady)
    await kubectl(['set', 'image', 'pod/changed', 'c=nodelet.dev/web:1'])
    const after = await pods.until('changed', it => it.status?.containerStatuses?.[0]?.restartCount === 1 && isReady(it), 30_000)
    t.equal(after.status?.podIP, before.status?.podIP)
    t.match(after.status?.containerStatuses?.[0]?.image, 'nodelet.dev/web:1')
    await pods.remove('changed')
  })

  await t.test('a Job comes to its end and a DaemonSet has a pod on each node', async t => {
    const template = (name: string, container: object, spec: object = {}) => ({
      template: {
        metadata: { labels: { app: name } },
        spec: { terminationGracePeriodSeconds: 1, containers: [container], ...spec },
      },
    })
    const job = template('job', script('echo done'), { restartPolicy: 'Never' })
    await apply(
      { apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'job' }, spec: { completions: 3, parallelism: 3, ...job } },
      {
        ...{ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'each' } },
        spec: { selector: { matchLabels: { app: 'each' } }, ...template('each', idle()) },
      },
    )
    await kubectl(['wait', '--for=condition=complete', 'job/job', '--timeout=30s'])
    await kubectl(['rollout', 'status', 'daemonset/each', '--timeout=30s'])
    t.same((await pods.list('app=each')).map(it => it.spec.nodeName).sort(), nodes.map(it => it.name).sort())
    await kubectl(['delete', 'job/job', 'daemonset/each', '--cascade=foreground', '--timeout=30s'], { timeoutMs: 35_000 })
    t.same([...(await pods.list('app=each')), ...(await pods.list('app=job'))], [])
  })

  await t.test('a static pod is shown in the apiserver, comes back when it is deleted there, and goes with its file', async t => {
    const file = `${node.manifests}/fixed.json`
    const name = `fixed-${nodeName}`
    await writeFile(file, JSON.stringify(podOf('fixed', idle())))
    const shown = await pods.until(name, isReady, 30_000)
    t.ok(shown.metadata.annotations?.['kubernetes.io/config.mirror'])
    t.match(shown.metadata.ownerReferences, [{ kind: 'Node', name: nodeName }])
    const started = shown.status?.containerStatuses?.[0]?.containerID
    await kubectl(['delete', 'pod', name, '--force', '--grace-period=0'])
    const again = await pods.until(name, it => it.metadata.uid !== shown.metadata.uid && isReady(it), 30_000)
    t.equal(again.status?.containerStatuses?.[0]?.containerID, started, 'the container goes on')
    await rm(file)
    await pods.gone(name, 30_000)
  })

  await t.test('a pod that the node cannot take fails with the reason', async t => {
    await create('big', idle({ resources: { requests: { cpu: '1000' } } }))
    await create('picky', idle(), { nodeSelector: { disk: 'golden' } })
    t.equal((await pods.until('big', it => it.status?.phase === 'Failed')).status?.reason, 'OutOfcpu')
    t.equal((await pods.until('picky', it => it.status?.phase === 'Failed')).status?.reason, 'NodeAffinity')
    await pods.remove('big', 'picky')
  })

  await t.test('a pod whose ConfigMap never comes waits, says so, and can be deleted', async t => {
    const mount = { volumeMounts: [{ name: 'v', mountPath: '/v' }] }
    await create('hopeless', idle(mount), { volumes: [{ name: 'v', configMap: { name: 'never' } }] })
    await create('unset', idle({ envFrom: [{ configMapRef: { name: 'never' } }] }))
    await waitFor('the event', async () => (await pods.reasons('hopeless')).includes('FailedMount'), 30_000)
    const waiting = await pods.until('hopeless', it => it.status?.containerStatuses?.[0]?.state?.waiting)
    t.equal(waiting.status?.containerStatuses?.[0]?.state?.waiting?.reason, 'ContainerCreating')
    await pods.until('unset', it => it.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'CreateContainerConfigError')
    await pods.remove('hopeless', 'unset')
  })

  await t.test('a pod is deleted with its grace period, and nothing of it stays on the node', async t => {
    await create('slow', bareScript(`trap 'echo asked; sleep 1; exit 0' TERM; while :; do sleep 0.1; done`), {
      terminationGracePeriodSeconds: 10,
    })
    const { metadata } = await pods.until('slow', isRunning)
    const began = performance.now()
    await pods.remove('slow')
    const ms = performance.now() - began
    t.ok(ms > 900 && ms < 9000, `${Math.round(ms)} ms`)
    const folders = () => readdir(`${node.dir}/kubelet/pods`)
    await waitFor('its folder to go', async () => !(await folders()).includes(metadata.uid ?? ''), 30_000)
  })

  await t.test('the Node says what it holds and renews its Lease', async t => {
    const lease = () =>
      get<{ spec: { renewTime: string } }>(`/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${nodeName}`)
    const { spec } = await lease()
    await waitFor('another renewal', async () => (await lease()).spec.renewTime > spec.renewTime, 15_000)
    const { status } = await get<{ status: NodeStatus }>(`/api/v1/nodes/${nodeName}`)
    t.ok(status.images.some(it => it.names.some(name => name.includes('nodelet.dev/web'))))
    t.match(status.capacity, { cpu: /^\d+$/, memory: /^\d+Ki$/, pods: '110' })
    t.match(status.daemonEndpoints, { kubeletEndpoint: { Port: 10_250 } })
  })
}

interface UserInfo {
  readonly username: string
  readonly extra: Readonly<Record<string, readonly string[]>>
}

interface NodeStatus {
  readonly images: readonly { readonly names: readonly string[] }[]
  readonly capacity: Readonly<Record<string, string>>
  readonly daemonEndpoints: object
}
