// Bad input, each piece beside a pod that must not notice: what is said where, and what happens when it is put right.
import t, { type Test } from 'tap'
import type { Service } from '../../api/service-types.ts'
import { busyboxImage, webImage } from '../support/images.ts'
import { configMap, idle, podOf, service, web } from '../support/manifests.ts'
import { createNode, isReady, waitingReason } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

// A range of six addresses, one of them the bridge's; four node ports; six cluster IPs.
const node = await createNode({
  containerd: { images: [busyboxImage, webImage] },
  config: { podCIDR: '10.244.0.0/29' },
  nodelet: { standalone: { serviceCIDR: '10.96.0.0/24', nodePortRange: '30000-30003' } },
})
t.setTimeout(0)
t.teardown(() => node.close())

await node.write('bystander.json', podOf('bystander', web()))
const bystander = await node.until('bystander', isReady)
const isUntouched = async (t: Test) => {
  const now = await node.pod('bystander')
  t.same(now?.status, bystander.status, 'the pod beside it did not notice')
}

/** The problem of an object or file, once it is told. */
const problem = (of: RegExp) =>
  waitFor(`a problem of ${of}`, async () => (await node.problems()).find(it => of.test(`${it.object}: ${it.message}`)))
const noProblems = () => waitFor('no problems', async () => (await node.problems()).length === 0)

t.test('broken YAML names file, document and line; the other documents of the file count', async t => {
  const good = JSON.stringify(podOf('good', idle()))
  await node.write('broken.yaml', `${good}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: [\n`)
  const { message } = await problem(/broken\.yaml/)
  t.match(message, /document 2, line \d+/)
  await node.until('good', isReady)
  t.match((await node.messages()).join('\n'), /broken\.yaml: document 2/)
  t.match((await node.cli(['get', 'problems'])).stdout, /broken\.yaml/)
  await isUntouched(t)
  await node.remove('broken.yaml')
  await noProblems()
  await node.gone('good')
})

t.test('of two documents with one name the first counts', async t => {
  const of = (word: string) => podOf('twice', idle({ env: [{ name: 'WORD', value: word }] }))
  await node.write('a.json', of('first'))
  await node.until('twice', isReady)
  await node.write('b.json', of('second'))
  t.match((await problem(/b\.json/)).message, /Pod default\/twice/)
  t.equal(await node.exec('twice', ['sh', '-c', 'echo $WORD']), 'first')
  const first = await node.pod('twice')
  await node.remove('a.json')
  await node.until('twice', it => it.metadata.uid !== first?.metadata.uid && isReady(it))
  t.equal(await node.exec('twice', ['sh', '-c', 'echo $WORD']), 'second', 'the other one takes its place')
  await node.remove('b.json')
  await Promise.all([noProblems(), node.gone('twice')])
})

t.test('an unknown field is named, with the one that is meant', async t => {
  const text = `apiVersion: v1
kind: Pod
metadata: { name: typo }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: c
      imagee: ${busyboxImage}
`
  await node.write('typo.yaml', text)
  const { message } = await problem(/imagee/)
  t.match(message, /document 1, line 8: Pod default\/typo: spec\.containers\[0\]\.imagee.*unknown field; did you mean "image"\?/)
  t.equal(await node.pod('typo'), undefined)
  await node.write('typo.yaml', `${text.replace('imagee', 'image')}      command: [sleep, "1000"]\n`)
  await node.until('typo', isReady)
  await node.write('typo.yaml', text)
  await problem(/typo\.yaml/)
  t.ok(isReady((await node.pod('typo'))!), 'a broken version does not end the last good one')
  await node.remove('typo.yaml')
  await Promise.all([noProblems(), node.gone('typo')])
})

t.test('what an apiserver would refuse is refused: names, ports, volumes that are not there', async t => {
  await node.write('refused.json', [
    podOf('Bad_Name', idle()),
    podOf('no-volume', idle({ volumeMounts: [{ name: 'absent', mountPath: '/x' }] })),
    podOf('no-image', { name: 'c' }),
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'x' } },
  ])
  await problem(/Bad_Name/)
  t.match((await problem(/no-volume/)).message, /volumeMounts\[0\]\.name.*absent/)
  t.match((await problem(/no-image/)).message, /image/)
  t.match((await problem(/Deployment/)).message, /Pod, Service, ConfigMap/)
  await isUntouched(t)
  await node.remove('refused.json')
  await noProblems()
})

t.test('a hostPort that is taken turns the second pod away, and it says by whom', async t => {
  const of = (name: string, ports: object) => podOf(name, idle({ ports: [{ containerPort: 80, hostPort: 18_080, ...ports }] }))
  await node.write('port-1.json', of('has-port', {}))
  await node.until('has-port', isReady)
  await node.write('port-2.json', [of('wants-port', {}), of('other-protocol', { protocol: 'UDP' })])
  const pod = await node.until('wants-port', it => it.status?.phase === 'Failed')
  t.match(pod.status, { reason: 'NodePorts', message: /18080\/TCP .*belongs to pod default\/has-port-n1/ })
  t.match((await node.cli(['get', 'pods', 'wants-port'])).stdout, /0\/1 +NodePorts +0 /)
  await node.until('other-protocol', isReady)
  await isUntouched(t)
  await node.remove('port-1.json')
  await node.remove('port-2.json')
  await Promise.all(['has-port', 'wants-port', 'other-protocol'].map(it => node.gone(it)))
})

t.test('an exhausted pod range: those without an address wait and say why, and start when one is free', async t => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f'].map(it => `full-${it}`)
  await node.write(
    'full.json',
    names.map(it => podOf(it, idle())),
  )
  const started = await waitFor('all that fit', async () => {
    const ready = (await Promise.all(names.map(it => node.pod(it)))).filter(it => it !== undefined && isReady(it))
    return ready.length === 4 ? ready : undefined
  })
  t.equal(new Set([...started, bystander].map(it => it?.status?.podIP)).size, 5, 'no address twice')
  const late = names.filter(it => !started.some(pod => pod?.metadata.name === `${it}-n1`))
  for (const name of late) {
    const pod = await node.pod(name)
    t.equal(pod && waitingReason(pod), 'ContainerCreating')
    await waitFor('the reason', async () =>
      /no free address|range .*(full|exhausted)/i.test((await node.cli(['why', name])).stdout),
    )
  }
  t.match((await node.cli(['why', late[0] ?? ''])).stdout, /What to do: the pod range is full/)
  await isUntouched(t)
  const [first] = started
  await node.write(
    'full.json',
    names.filter(it => `${it}-n1` !== first?.metadata.name).map(it => podOf(it, idle())),
  )
  await waitFor(
    'one of those that waited',
    async () => (await Promise.all(late.map(it => node.pod(it)))).some(it => it !== undefined && isReady(it)),
    20_000,
  )
  await node.remove('full.json')
  await Promise.all(names.map(it => node.gone(it)))
})

t.test('a node port that is taken is a problem of the second Service, which gets it when the first goes', async t => {
  const of = (name: string) => service(name, [{ port: 80, nodePort: 30_001 }], { type: 'NodePort', selector: { app: 'x' } })
  await node.write('np-1.json', of('one'))
  await waitFor('the first', async () =>
    (await node.list<Service>('/v1/services')).some(it => it.spec.ports?.[0]?.nodePort === 30_001),
  )
  await node.write('np-2.json', of('two'))
  t.match((await problem(/two/)).message, /30001.*(allocated|taken|default\/one)/)
  await isUntouched(t)
  await node.remove('np-1.json')
  await noProblems()
  const two = (await node.list<Service>('/v1/services')).find(it => it.metadata.name === 'two')
  t.equal(two?.spec.ports?.[0]?.nodePort, 30_001)
  await node.remove('np-2.json')
})

t.test('exhausted node ports and a cluster IP twice are told too', async t => {
  const port = [{ port: 80 }]
  await node.write(
    'ports.json',
    [1, 2, 3, 4, 5].map(it => service(`np-${it}`, port, { type: 'NodePort' })),
  )
  t.match((await problem(/np-\d/)).message, /range is full|no free|exhausted/i)
  await node.write('ports.json', [
    service('ip-1', port, { clusterIP: '10.96.0.99' }),
    service('ip-2', port, { clusterIP: '10.96.0.99' }),
    service('outside', port, { clusterIP: '10.97.0.1' }),
  ])
  t.match((await problem(/ip-2/)).message, /10\.96\.0\.99/)
  t.match((await problem(/outside/)).message, /10\.97\.0\.1.*10\.96\.0\.0\/24/)
  await node.remove('ports.json')
  await noProblems()
})

t.test('a ConfigMap that cannot be one, and a Service port that is not there', async t => {
  await node.write('odd.json', [
    configMap('odd', { 'bad key': 'x' }),
    service('portless', [{ port: 80, targetPort: 'absent' }], { selector: { app: 'none' } }),
  ])
  t.match((await problem(/odd/)).message, /bad key/)
  t.equal(await node.curl(`http://${bystander.status?.podIP}/`), 'bystander-n1')
  await node.remove('odd.json')
  await noProblems()
  await isUntouched(t)
})
