// The environment, arguments and terminal that a container gets, and what a missing source of them leads to.
import t from 'tap'
import { busyboxImage } from '../support/images.ts'
import { bareScript, configMap, idle, podOf, secret, service } from '../support/manifests.ts'
import { createNode, isReady, nodeIP, statusOf, waitingReason } from '../support/node.ts'

const node = await createNode()
t.setTimeout(0)
t.teardown(() => node.close())

const clear = async (file: string, pod: string) => {
  await node.remove(file)
  await node.gone(pod)
}
/** The environment of a container's first process. */
const environment = async (pod: string, container?: string): Promise<Record<string, string>> => {
  const text = await node.exec(pod, ['cat', '/proc/1/environ'], container)
  return Object.fromEntries(
    text
      .split('\0')
      .filter(it => it !== '')
      .map(it => [it.slice(0, it.indexOf('=')), it.slice(it.indexOf('=') + 1)]),
  )
}

const field = (fieldPath: string) => ({ valueFrom: { fieldRef: { fieldPath } } })
const amount = (resource: string, divisor?: string) => ({
  valueFrom: { resourceFieldRef: { resource, ...(divisor && { divisor }) } },
})

t.test('literals, references to them, fields and resources', async t => {
  const env = [
    { name: 'PLAIN', value: 'a b' },
    { name: 'JOINED', value: '$(PLAIN)/$(MISSING)/$$(PLAIN)' },
    { name: 'NAME', ...field('metadata.name') },
    { name: 'NAMESPACE', ...field('metadata.namespace') },
    { name: 'UID', ...field('metadata.uid') },
    { name: 'LABEL', ...field("metadata.labels['app']") },
    { name: 'NODE', ...field('spec.nodeName') },
    { name: 'POD_IP', ...field('status.podIP') },
    { name: 'HOST_IP', ...field('status.hostIP') },
    { name: 'CPU', ...amount('limits.cpu') },
    { name: 'MEMORY', ...amount('requests.memory', '1Mi') },
  ]
  const resources = { limits: { cpu: '1500m', memory: '64Mi' }, requests: { memory: '32Mi' } }
  await node.write('fields.json', podOf('fields', idle({ env, resources }), {}, { labels: { app: 'labelled' } }))
  const pod = await node.until('fields', isReady)
  t.match(await environment('fields'), {
    PLAIN: 'a b',
    JOINED: 'a b/$(MISSING)/$(PLAIN)',
    NAME: 'fields-n1',
    NAMESPACE: 'default',
    UID: pod.metadata.uid,
    LABEL: 'labelled',
    NODE: 'n1',
    POD_IP: pod.status?.podIP,
    HOST_IP: nodeIP,
    CPU: '2',
    MEMORY: '32',
    HOSTNAME: 'fields-n1',
  })
  await clear('fields.json', 'fields')
})

t.test('keys of ConfigMaps and Secrets, one by one and all at once', async t => {
  const data = { LEVEL: 'high', 'not-a.name': 'kept', '1': 'one' }
  await node.write('data.json', [configMap('settings', data), secret('keys', { TOKEN: 'hidden' })])
  const env = [
    { name: 'ONE', valueFrom: { configMapKeyRef: { name: 'settings', key: 'LEVEL' } } },
    { name: 'SECRET', valueFrom: { secretKeyRef: { name: 'keys', key: 'TOKEN' } } },
    { name: 'ABSENT', valueFrom: { secretKeyRef: { name: 'keys', key: 'nope', optional: true } } },
    { name: 'LEVEL', value: 'own' },
  ]
  const envFrom = [
    { configMapRef: { name: 'settings' } },
    { prefix: 'P_', secretRef: { name: 'keys' } },
    { configMapRef: { name: 'nowhere', optional: true } },
  ]
  await node.write('keys.json', podOf('keys', idle({ env, envFrom })))
  await node.until('keys', isReady)
  const got = await environment('keys')
  t.match(got, { ONE: 'high', SECRET: 'hidden', P_TOKEN: 'hidden', LEVEL: 'own', 'not-a.name': 'kept' })
  t.notOk('ABSENT' in got)
  await clear('keys.json', 'keys')
})

t.test('a source that is missing is waited for with the words of the kubelet', async t => {
  const of = (name: string, key: string) => ({ name: 'A', valueFrom: { configMapKeyRef: { name, key } } })
  await node.write('missing.json', [
    podOf('no-map', idle({ env: [of('later', 'k')] })),
    podOf('no-key', idle({ env: [of('settings', 'none')] })),
    podOf('no-secret', idle({ envFrom: [{ secretRef: { name: 'later' } }] })),
  ])
  for (const [name, message] of [
    ['no-map', 'configmap "later" not found'],
    ['no-key', "couldn't find key none in ConfigMap default/settings"],
    ['no-secret', 'secret "later" not found'],
  ] as const) {
    const pod = await node.until(name, it => waitingReason(it) === 'CreateContainerConfigError')
    t.equal(statusOf(pod)?.state?.waiting?.message, message)
  }
  t.match((await node.cli(['get', 'pods', 'no-map'])).stdout, /0\/1 +CreateContainerConfigError +0 /)
  const started = performance.now()
  await node.write('later.json', [configMap('later', { k: 'v' }), secret('later', { S: 's' })])
  await Promise.all([node.until('no-map', isReady), node.until('no-secret', isReady)])
  t.ok(performance.now() - started < 3000, `ready after ${Math.round(performance.now() - started)} ms`)
  await node.remove('missing.json')
  await Promise.all(['no-map', 'no-key', 'no-secret'].map(it => node.gone(it)))
})

t.test('Services of the namespace, unless the pod does not want them', async t => {
  const port = { name: 'http', port: 80 }
  await node.write('svc.json', service('web-app', [port], { clusterIP: '10.96.4.4' }))
  await node.write('svcs.json', [podOf('svcs', idle()), podOf('bare', idle(), { enableServiceLinks: false })])
  await Promise.all([node.until('svcs', isReady), node.until('bare', isReady)])
  t.match(await environment('svcs'), {
    WEB_APP_SERVICE_HOST: '10.96.4.4',
    WEB_APP_SERVICE_PORT: '80',
    WEB_APP_SERVICE_PORT_HTTP: '80',
    WEB_APP_PORT: 'tcp://10.96.4.4:80',
    WEB_APP_PORT_80_TCP_ADDR: '10.96.4.4',
  })
  t.notOk('WEB_APP_SERVICE_HOST' in (await environment('bare')))
  await node.remove('svc.json')
  await node.remove('svcs.json')
  await Promise.all([node.gone('svcs'), node.gone('bare')])
})

t.test('command, args and working directory; a terminal', async t => {
  const said = {
    name: 'c',
    image: busyboxImage,
    env: [{ name: 'WORD', value: 'hello world' }],
    command: ['sh', '-c', 'echo "$0|$1|$PWD"; sleep 1000'],
    args: ['$(WORD)', '$$(WORD)'],
    workingDir: '/var',
  }
  const terminal = bareScript('tty; exec sleep 1000', { name: 'terminal', tty: true, stdin: true })
  await node.write('said.json', podOf('said', [said, terminal]))
  await node.until('said', isReady)
  t.equal((await node.cli(['logs', 'said', '-c', 'c'])).stdout, 'hello world|$(WORD)|/var')
  t.match((await node.cli(['logs', 'said', '-c', 'terminal'])).stdout, /^\/dev\//)
  await clear('said.json', 'said')
})

t.test('a command that is not there is told as the kubelet tells it', async t => {
  const container = { name: 'c', image: busyboxImage, command: ['/no/such/program'] }
  await node.write('none.json', podOf('none', container))
  const pod = await node.until('none', it => statusOf(it)?.state?.waiting?.message ?? statusOf(it)?.lastState?.terminated)
  t.match(JSON.stringify(statusOf(pod)), /no such file or directory/)
  t.match((await node.cli(['get', 'pods', 'none'])).stdout, /0\/1 +(RunContainerError|CrashLoopBackOff|StartError) /)
  await clear('none.json', 'none')
})
