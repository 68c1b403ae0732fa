// `nodelet proxy` as kube-proxy is started: by its command line, with its file and credentials, against a real apiserver. What a client,
// a load balancer and a scraper see of it is held against kube-proxy on the same node; and traffic goes on from one to the other and back.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { createControlPlane } from '../support/control-plane.ts'
import type { Netns } from '../support/netns.ts'
import { peer } from '../support/peers.ts'
import { type Program, startProgram } from '../support/programs.ts'
import { waitFor } from '../support/wait.ts'

const nodelet = join(import.meta.dirname, '../../bin/nodelet')
const traffic = join(import.meta.dirname, '../support/traffic.ts')
const nodeName = 'node-a'
const longestMs = 300_000

t.setTimeout(longestMs)
const kubeProxy = await peer('kube-proxy')
const agnhost = await peer('agnhost')
const control = await createControlPlane()
t.teardown(() => control.close())

const { fabric, dir } = control
const node = await fabric.host(20)
const server = await fabric.host(21)
const client = await fabric.host(22)
const nodeAddress = fabric.address(20)
const clusterIP = '10.96.0.80'
const healthPort = 30_099
await startProgram({ netns: server, log: `${dir}/http.log`, argv: [agnhost, 'netexec', '--http-port=8080', '--udp-port=-1'] })
await startProgram({ netns: server, log: `${dir}/echo.log`, argv: [process.execPath, traffic, 'serve', '8081'] })
// The client is another machine, which reaches Services by way of the node.
await client.run(['ip', 'route', 'add', '10.96.0.0/16', 'via', nodeAddress])

const sliceOf = (service: string, port: number, endpoint: object) => ({
  ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
  metadata: { name: `${service}-${port}`, namespace: 'default', labels: { 'kubernetes.io/service-name': service } },
  ports: [{ name: `p${port}`, port, protocol: 'TCP' }],
  endpoints: [{ addresses: [fabric.address(21)], conditions: { ready: true }, ...endpoint }],
})
const balanced = (endpoint: object) => sliceOf('balanced', 8080, endpoint)
await control.apply(
  { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName, labels: { 'topology.kubernetes.io/zone': 'z' } } },
  {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' } },
    spec: {
      ...{ clusterIP, type: 'NodePort' },
      ports: [
        { name: 'p8080', port: 80, targetPort: 8080, nodePort: 30_080 },
        { name: 'p8081', port: 81, targetPort: 8081 },
      ],
    },
  },
  sliceOf('web', 8080, {}),
  sliceOf('web', 8081, {}),
  {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'balanced' } },
    spec: {
      ...{ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: healthPort },
      ports: [{ name: 'p8080', port: 80, targetPort: 8080 }],
    },
  },
  balanced({ nodeName }),
)
await control.send('PATCH', `/api/v1/nodes/${nodeName}/status`, {
  status: { addresses: [{ type: 'InternalIP', address: nodeAddress }] },
})
const kubeconfig = await control.credentials({ user: 'system:kube-proxy' })

/** A file that kube-proxy takes as well. */
const configFile = async (name: string, fields: string): Promise<string> => {
  const path = `${dir}/${name}.yaml`
  const head = `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nhostnameOverride: ${nodeName}\n`
  const more = `clientConnection: {kubeconfig: ${kubeconfig}}\nclusterCIDR: 10.244.0.0/16\nconntrack: {maxPerCore: 0, min: 0}\n`
  await writeFile(path, head + more + fields)
  return path
}

interface Reply {
  readonly status: number
  readonly type: string
  readonly weight: string | undefined
  readonly body: string
}

/** What an HTTP server answers to a program in `netns`. @throws when nobody does */
const ask = async (netns: Netns, url: string): Promise<Reply> => {
  const { stdout } = await netns.run(['curl', '-si', '--max-time', '2', url])
  const [head = '', body = ''] = stdout.split(/\r?\n\r?\n(.*)/s)
  const header = (name: string) => new RegExp(`^${name}: (.*?)\r?$`, 'im').exec(head)?.[1]
  const type = header('content-type') ?? ''
  return { status: Number(head.split(' ')[1]), type, weight: header('x-load-balancing-endpoint-weight'), body }
}
const healthz = () => ask(client, `http://${nodeAddress}:10256/healthz`)
const livez = () => ask(client, `http://${nodeAddress}:10256/livez`)
const balancerCheck = () => ask(client, `http://${nodeAddress}:${healthPort}/`)
const inside = (path: string) => ask(node, `http://127.0.0.1:10249${path}`)

/** Whether a Service answers the client. */
const reach = async (address: string, port: number): Promise<boolean> => {
  const url = `http://${address}:${port}/clientip`
  return (await client.exec.try(['curl', '-sf', '-o', '/dev/null', '--max-time', '1', url])).exitCode === 0
}

/** One that runs in the node's network, with what it logged at hand. */
const start = async (name: string, argv: readonly string[]) => {
  const log = `${dir}/${name}.log`
  let ended = false
  const onEnd = () => {
    ended = true
  }
  const program: Program = await startProgram({ netns: node, log, argv, onEnd })
  const said = () => readFile(log, 'utf8')
  return { ...program, said, hasEnded: () => ended }
}
const socket = ['--socket', `${dir}/proxy.sock`]
const alone = (name: string, file: string) => start(name, [nodelet, 'proxy', '--config', file, ...socket])
const cleanUp = () => node.exec.try([nodelet, 'proxy', '--cleanup'])

/** Names of the metrics about the proxy, each with the names of its labels. */
const metricsOf = (text: string): ReadonlySet<string> =>
  new Set(
    text.split('\n').flatMap(line => {
      const [, name, labels = ''] = /^(kubeproxy_\w+?)(?:_bucket|_sum)?(?:\{(.*)\})? /.exec(line) ?? []
      if (name === undefined || line.startsWith('#')) return []
      const names = [...labels.matchAll(/(\w+)="/g)].map(([, label]) => label!).filter(label => label !== 'le')
      return [`${name}{${names.toSorted().join(',')}}`]
    }),
  )

// What kube-proxy answers, to hold ours against.
const theirs = new Map<string, Reply>()

t.test('kube-proxy on this node, for comparison', { timeout: longestMs }, async t => {
  const file = await configFile('theirs', 'mode: nftables\n')
  const program = await start('theirs', [kubeProxy, '--config', file])
  await waitFor('the Service', () => reach(clusterIP, 80), 60_000)
  await waitFor('the health check', async () => (await balancerCheck()).status === 200, 20_000)
  for (const [name, asking] of Object.entries({ healthz, livez, balancerCheck })) theirs.set(name, await asking())
  for (const path of ['/healthz', '/proxyMode', '/configz', '/metrics', '/nothing']) theirs.set(path, await inside(path))
  await program.end()
  t.match((await node.run(['nft', 'list', 'tables'])).stdout, 'table ip kube-proxy', 'its rules stay')
})

t.test('ours, with the same file', { timeout: longestMs }, async t => {
  const program = await alone('ours', `${dir}/theirs.yaml`)
  t.teardown(() => program.end())
  await waitFor(
    'the rules of kube-proxy to go',
    async () => !(await node.run(['nft', 'list', 'tables'])).stdout.includes(' kube-proxy'),
    20_000,
  )
  t.ok(await reach(clusterIP, 80), 'the Service answers')
  t.ok(await reach(nodeAddress, 30_080), 'so does its node port')

  await t.test('balancers and scrapers read the same', async t => {
    const shape = ({ status, type }: Reply) => ({ status, type })
    const keys = (text: string) => Object.keys(JSON.parse(text) as object)
    for (const [name, asking] of Object.entries({ healthz, livez })) {
      const [mine, other] = [await asking(), theirs.get(name)!]
      t.same(shape(mine), shape(other), name)
      t.same(keys(mine.body), keys(other.body), `${name}: the same fields in the same order`)
    }
    t.same(await balancerCheck(), theirs.get('balancerCheck'), "the health check of a balancer's Service, to the byte")
    for (const path of ['/healthz', '/proxyMode', '/nothing']) t.same(await inside(path), theirs.get(path), path)
    const [mine, other] = [(await inside('/configz')).body, theirs.get('/configz')!.body].map(
      text => (JSON.parse(text) as Record<string, Record<string, unknown>>)['kubeproxy.config.k8s.io']!,
    )
    // Nobody obeys these on Linux, and ours says so.
    const { winkernel: _, windowsRunAsService: __, portRange: ___, ...known } = other!
    t.same(
      Object.keys(known).filter(field => !(field in mine!)),
      [],
      'every field of /configz is there',
    )
    t.match(mine, { mode: 'nftables', hostnameOverride: nodeName, clusterCIDR: '10.244.0.0/16', conntrack: { maxPerCore: 0 } })
  })

  await t.test('every metric of kube-proxy is there, with its labels', async t => {
    await control.apply(balanced({ nodeName, conditions: { ready: false } }))
    await waitFor('the health check to say so', async () => (await balancerCheck()).status === 503)
    const wanted = metricsOf(theirs.get('/metrics')!.body)
    t.ok(wanted.size > 10, `kube-proxy has ${wanted.size}`)
    const reply = await inside('/metrics')
    const there = metricsOf(reply.body)
    t.same(
      [...wanted].filter(name => !there.has(name)),
      [],
    )
    t.match(reply.type, /^text\/plain; version=0\.0\.4/)
  })

  await t.test('trace and diff ask it', async t => {
    const trace = await node.exec.try([nodelet, 'trace', `${clusterIP}:80`, '--proto', 'tcp', ...socket])
    t.match(trace.stdout, /^ +\S+:\d+ +used/m, 'an endpoint')
    t.match(trace.stdout, /verdict: table ip nodelet-proxy holds what it should/)
    const diff = await node.exec.try([nodelet, 'diff', ...socket])
    t.equal(diff.exitCode, 0, diff.stdout)
  })

  await t.test('a node that the autoscaler takes away is told of to balancers, and not to whoever restarts programs', async t => {
    t.equal((await healthz()).status, 200)
    const taint = (taints: readonly object[]) => control.send('PATCH', `/api/v1/nodes/${nodeName}`, { spec: { taints } })
    await taint([{ key: 'ToBeDeletedByClusterAutoscaler', value: '1', effect: 'NoSchedule' }])
    const going = await waitFor('healthz to say so', async () => {
      const reply = await healthz()
      return reply.status === 503 ? reply : undefined
    })
    t.match(JSON.parse(going.body), { nodeEligible: false, healthy: true })
    t.equal((await livez()).status, 200)
    await control.send('PATCH', `/api/v1/nodes/${nodeName}`, { spec: { taints: null } })
    await waitFor('healthz to be well again', async () => (await healthz()).status === 200)
  })

  await t.test('its start is an Event of the Node', async t => {
    const { items } = await control.get<{ items: { reason: string; source: object; involvedObject: object }[] }>(
      '/api/v1/namespaces/default/events?fieldSelector=reason=Starting',
    )
    t.match(
      items.filter(({ source }) => (source as { component?: string }).component === 'kube-proxy'),
      [{ involvedObject: { kind: 'Node', name: nodeName, uid: nodeName } }],
    )
  })

  await t.test('a changed configuration ends it, and the rules go on routing', async t => {
    await writeFile(`${dir}/theirs.yaml`, `${await readFile(`${dir}/theirs.yaml`, 'utf8')}# changed\n`)
    await waitFor('the program to end', program.hasEnded)
    t.match(await program.said(), /the configuration has changed/)
    t.ok(await reach(clusterIP, 80))
  })
})

t.test('a port that is taken ends it when the configuration says so', { timeout: longestMs }, async t => {
  const squatter = await startProgram({
    ...{ netns: node, log: `${dir}/squatter.log` },
    argv: [process.execPath, traffic, 'serve', '10256'],
  })
  const program = await alone('hard', await configFile('hard', 'mode: nftables\nbindAddressHardFail: true\n'))
  await waitFor('the program to end', program.hasEnded, 20_000)
  await squatter.end()
  t.match(await program.said(), /^nodelet proxy: 0\.0\.0\.0:10256: the port is in use by another program/m)
})

/** New connections to the Service, one each millisecond, until `end`, which returns what went wrong. */
const knock = async () => {
  const log = `${dir}/knock-${Date.now()}.log`
  const program = await startProgram({ netns: client, log, argv: [process.execPath, traffic, 'knock', clusterIP, '81'] })
  const lines = async () => (await readFile(log, 'utf8')).trimEnd().split('\n')
  await waitFor('the first knock', async () => (await lines()).includes('knocking'))
  return async () => {
    await program.end('SIGTERM')
    return await lines()
  }
}

const chainsLeft = async () => {
  const saved = await Promise.all(
    ['iptables-nft-save', 'ip6tables-nft-save'].map(async program => (await node.run([program])).stdout),
  )
  const tables = (await node.run(['nft', 'list', 'tables'])).stdout
  // Both kube-proxy and the kubelet make KUBE-FIREWALL, and neither takes it away.
  return [...saved.join('\n').matchAll(/^:(KUBE-(?!FIREWALL)\S+)/gm), ...tables.matchAll(/^table (\S+ kube-proxy)/gm)]
    .map(([, name]) => name!)
    .toSorted()
}

for (const mode of ['nftables', 'iptables'])
  t.test(`from a kube-proxy in ${mode} mode and back, while clients knock`, { timeout: longestMs }, async t => {
    await cleanUp()
    const theirFile = await configFile(`their-${mode}`, `mode: ${mode}\n`)
    const before = await start(`before-${mode}`, [kubeProxy, '--config', theirFile])
    await waitFor('kube-proxy to route', () => reach(clusterIP, 80), 60_000)
    theirs.set(`/metrics ${mode}`, await inside('/metrics'))
    const end = await knock()
    await before.end()
    t.not((await chainsLeft()).length, 0, 'its rules are there')

    const ours = await alone(`between-${mode}`, await configFile('between', 'mode: nftables\n'))
    await waitFor('its rules to go', async () => (await chainsLeft()).length === 0, 20_000).catch(async error => {
      throw new Error(`${await ours.said()}\n${await chainsLeft()}`, { cause: error })
    })
    t.ok(await reach(clusterIP, 80), 'ours routes alone')
    const isTold = async () => /rules of another proxy, or of another mode, have been removed/.test(await ours.said())
    t.ok(await waitFor('it to be told', isTold))

    await ours.end('SIGTERM')
    const after = await start(`after-${mode}`, [kubeProxy, '--config', theirFile])
    // The chains by which it watches over its own are there before it routes anything.
    const routes = async () => (await chainsLeft()).some(name => /^KUBE-SVC-| kube-proxy$/.test(name))
    await waitFor('kube-proxy to write', routes, 60_000)
    await waitFor('kube-proxy to be well', async () => (await healthz()).body.includes('"status"'), 20_000)
    const { exitCode, stdout } = await cleanUp()
    t.equal(exitCode, 0)
    t.match(stdout, 'nftables table ip nodelet-proxy')
    t.ok(await reach(clusterIP, 80), 'kube-proxy routes alone')
    const said = await end()
    t.same(
      said.filter(line => !/^(knocking|done \d+)$/.test(line)),
      [],
      'no connection failed',
    )
    t.match(said.at(-1), /^done [1-9]\d{2,}$/)
    await after.end()
    await node.run([kubeProxy, '--cleanup'], { timeoutMs: 30_000 })
  })

// Counted by nfacct, which no rule of ours asks of the kernel (docs/proxy.md).
const byNfacct = [
  'kubeproxy_iptables_ct_state_invalid_dropped_packets_total{}',
  'kubeproxy_iptables_localhost_nodeports_accepted_packets_total{}',
]

t.test('in iptables mode, too, every metric of kube-proxy is there', { timeout: longestMs }, async t => {
  const program = await alone('iptables', await configFile('iptables', 'mode: iptables\n'))
  t.teardown(() => program.end())
  await waitFor('the Service', () => reach(clusterIP, 80), 20_000)
  const wanted = metricsOf(theirs.get('/metrics iptables')!.body)
  t.ok(wanted.has('kubeproxy_sync_proxy_rules_iptables_total{ip_family,table}'))
  // A change is written in part, and counted so.
  await control.apply(balanced({ nodeName, conditions: { ready: true } }))
  const lacking = async () => {
    const there = metricsOf((await inside('/metrics')).body)
    return [...wanted].filter(name => !there.has(name) && !byNfacct.includes(name))
  }
  await waitFor('all of them', async () => (await lacking()).length === 0, 20_000).catch(() => undefined)
  t.same(await lacking(), [])
  await program.end('SIGTERM')
  await cleanUp()
})
