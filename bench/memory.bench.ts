// Memory of a node with 30 pods and 100 Services of 3 endpoints each, a minute after the last change: the daemon beside the Go
// kubelet (standalone) and kube-proxy (nftables mode, fed by a kube-apiserver) together. RSS and its peak as /proc tells them.
// Prints figures; needs root, Debian's containerd, CNI plugins and etcd, and the Go programs (test/support/peers.ts).
import { readFile, writeFile } from 'node:fs/promises'
import { serviceNameLabel } from '../api/service-types.ts'
import type { Pod } from '../api/types.ts'
import { systemExec } from '../host/exec.ts'
import { webImage } from '../test/support/images.ts'
import { peer } from '../test/support/peers.ts'
import { waitFor } from '../test/support/wait.ts'
import { alone } from './alone.ts'
import { type ControlPlane, createControlPlane } from './control-plane.ts'
import { print } from './figure.ts'
import { createKubeletNode } from './kubelet-node.ts'
import type { Node } from './node.ts'
import { createNodeletNode } from './nodelet-node.ts'

const podCount = 30
const serviceCount = 100
const groups = 10
const settleMs = 60_000

const group = (index: number) => `group-${index % groups}`
const indexes = (count: number) => Array.from({ length: count }, (_, index) => index)

const pod = (index: number) => ({
  ...{ apiVersion: 'v1', kind: 'Pod' },
  metadata: { name: `web-${index}`, namespace: 'default', labels: { app: group(index) } },
  spec: {
    terminationGracePeriodSeconds: 1,
    containers: [
      {
        ...{ name: 'web', image: webImage, imagePullPolicy: 'IfNotPresent' },
        readinessProbe: { httpGet: { path: '/healthz', port: 80 }, periodSeconds: 10 },
        resources: { requests: { cpu: '10m', memory: '8Mi' }, limits: { memory: '64Mi' } },
      },
    ],
  },
})

const service = (index: number) => ({
  ...{ apiVersion: 'v1', kind: 'Service' },
  metadata: { name: `service-${index}`, namespace: 'default' },
  spec: { selector: { app: group(index) }, ports: [{ name: 'http', port: 80, targetPort: 80 }] },
})

const slice = (index: number, addresses: readonly string[]) => ({
  ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
  metadata: { name: `service-${index}-a`, namespace: 'default', labels: { [serviceNameLabel]: `service-${index}` } },
  ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
  endpoints: addresses.map(address => ({ addresses: [address], conditions: { ready: true }, nodeName: 'bench' })),
})

const isReady = ({ status }: Pod) => status?.conditions?.some(it => it.type === 'Ready' && it.status === 'True')

const startPods = async (node: Node): Promise<readonly Pod[]> => {
  for (const index of indexes(podCount)) await writeFile(`${node.manifests}/web-${index}.json`, JSON.stringify(pod(index)))
  return waitFor(
    `${podCount} pods of ${node.agent}`,
    async () => {
      const ready = (await node.pods()).filter(isReady)
      return ready.length === podCount ? ready : undefined
    },
    120_000,
  )
}

/** Names of the Services whose rules stand in the node's kernel, whatever they look like: a ClusterIP stands in the rule set. */
const whenRouted = (node: Node, clusterIPs: readonly string[]) =>
  waitFor(
    `${clusterIPs.length} Services in the kernel of ${node.agent}`,
    async () => {
      const { stdout } = await node.netns.run(['nft', 'list', 'ruleset'])
      return clusterIPs.every(it => stdout.includes(it))
    },
    60_000,
  )

const startKubeProxy = async (node: Node, { kubeconfig, create }: ControlPlane, pods: readonly Pod[]): Promise<number> => {
  const core = '/api/v1/namespaces/default'
  const clusterIP = (index: number) => `10.96.7.${index + 1}`
  const addresses = [{ type: 'InternalIP', address: node.address }]
  await create('/api/v1/nodes', { ...{ apiVersion: 'v1', kind: 'Node' }, metadata: { name: 'bench' }, status: { addresses } })
  for (const index of indexes(serviceCount)) {
    const { spec, ...rest } = service(index)
    await create(`${core}/services`, { ...rest, spec: { ...spec, clusterIP: clusterIP(index) } })
    const chosen = pods.filter(it => it.metadata.labels?.['app'] === group(index)).map(it => it.status?.podIP ?? '')
    await create('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices', slice(index, chosen))
  }
  const configuration = {
    ...{ apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration', mode: 'nftables' },
    ...{
      clientConnection: { kubeconfig },
      clusterCIDR: '10.244.0.0/24',
      hostnameOverride: 'bench',
      conntrack: { maxPerCore: 0 },
    },
  }
  const file = `${node.containerd.dir}/kube-proxy.yaml`
  await writeFile(file, JSON.stringify(configuration))
  const pid = await node.start('kube-proxy', [await peer('kube-proxy'), `--config=${file}`])
  await whenRouted(node, indexes(serviceCount).map(clusterIP))
  return pid
}

/** A field of /proc/PID/status in MB. */
const memory = async (pid: number, field: 'VmRSS' | 'VmHWM' | 'RssAnon' | 'RssFile'): Promise<number> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024
}

const report = async (field: 'VmRSS' | 'VmHWM', ours: number, kubelet: number, kubeProxy: number) => {
  const [a, b] = [await memory(kubelet, field), await memory(kubeProxy, field)]
  const of = async (pid: number) =>
    `${Math.round(await memory(pid, 'RssAnon'))} anonymous, ${Math.round(await memory(pid, 'RssFile'))} of files`
  print({
    figure: `${field === 'VmRSS' ? 'RSS' : 'peak RSS'} with ${podCount} pods and ${serviceCount} Services`,
    unit: 'MB',
    ours: await memory(ours, field),
    peer: 'kubelet + kube-proxy',
    theirs: a + b,
    ...(field === 'VmRSS' && { atMost: 0.75 }),
    note: `kubelet ${Math.round(a)}, kube-proxy ${Math.round(b)}${field === 'VmRSS' ? `; ours ${await of(ours)}` : ''}`,
  })
}

await alone(async () => {
  const close: (() => Promise<void>)[] = []
  try {
    // kube-proxy asks the apiserver through this namespace
    await systemExec.run(['dd', 'of=/proc/sys/net/ipv4/ip_forward', 'status=none'], { input: '1\n' })
    const nodelet = await createNodeletNode()
    close.push(nodelet.close)
    for (const index of indexes(serviceCount))
      await writeFile(`${nodelet.manifests}/service-${index}.json`, JSON.stringify(service(index)))
    await startPods(nodelet)
    const { items } = await nodelet.ask<{ items: readonly { spec: { clusterIP: string } }[] }>('/v1/services')
    await whenRouted(
      nodelet,
      items.map(it => it.spec.clusterIP),
    )
    const kubelet = await createKubeletNode()
    close.push(kubelet.close)
    const pods = await startPods(kubelet)
    const controlPlane = await createControlPlane()
    close.push(controlPlane.close)
    const kubeProxy = await startKubeProxy(kubelet, controlPlane, pods)
    await new Promise(resolve => setTimeout(resolve, settleMs))
    const [ours, theirs] = [nodelet.pids[0]!, kubelet.pids[0]!]
    await report('VmRSS', ours, theirs, kubeProxy)
    await report('VmHWM', ours, theirs, kubeProxy)
  } finally {
    for (const it of close.reverse()) await it()
  }
})
