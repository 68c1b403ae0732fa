// The files and command lines of a cluster's node, the same for both agents wherever they can be: what kubeadm join leaves on a machine,
// and for ours a NodeletConfiguration beside it. Pure: values in, values out.
import { join } from 'node:path'
import { dnsAddress, podRange } from './control-plane.ts'

type Fields = Readonly<Record<string, unknown>>

/** Which programs run the node: ours, or the Go kubelet and kube-proxy. */
export type Agent = 'nodelet' | 'kubelet'

export interface NodeFacts {
  readonly name: string
  readonly address: string
  /** Folder of everything that is the node's. */
  readonly dir: string
  readonly endpoint: string
  readonly cgroupRoot: string
  readonly clientCa: string
  readonly cniBin: string
  readonly cniConf: string
  /** The mode of its proxy; nftables when it is not given. */
  readonly serviceMode?: string | undefined
}

const kubeletConfiguration = ({ dir, endpoint, cgroupRoot, clientCa }: NodeFacts): Fields => ({
  ...{ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' },
  authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: clientCa } },
  authorization: { mode: 'Webhook' },
  ...{ cgroupDriver: 'cgroupfs', cgroupRoot, clusterDNS: [dnsAddress], clusterDomain: 'cluster.local' },
  ...{ staticPodPath: `${dir}/manifests`, containerRuntimeEndpoint: endpoint, podLogsDir: `${dir}/logs` },
  ...{ failSwapOn: false, failCgroupV1: false, rotateCertificates: false, localStorageCapacityIsolation: false },
  ...{ evictionHard: { 'memory.available': '100Mi' }, resolvConf: '/etc/resolv.conf' },
  // What a user changes is to be seen in the time of a test.
  ...{ syncFrequency: '10s', fileCheckFrequency: '1s' },
})

const proxyConfiguration = ({ name, dir, serviceMode = 'nftables' }: NodeFacts): Fields => ({
  ...{ apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration', mode: serviceMode },
  ...{ clientConnection: { kubeconfig: `${dir}/kube-proxy.conf` }, clusterCIDR: podRange, hostnameOverride: name },
  ...{ conntrack: { maxPerCore: 0 }, metricsBindAddress: '127.0.0.1:10249' },
})

const nodeletConfiguration = ({ dir, cniBin, cniConf }: NodeFacts): Fields => ({
  ...{ apiVersion: 'nodelet.dev/v1alpha1', kind: 'NodeletConfiguration' },
  ...{ socket: `${dir}/nodelet.sock`, stateDir: `${dir}/nodelet` },
  ...{ cni: { mode: 'enabled', binDir: cniBin, confDir: cniConf }, proxy: { mode: 'enabled' } },
})

/** Files of the node's folder by name. @param more fields of the KubeletConfiguration over the usual ones */
export const nodeFiles = (facts: NodeFacts, more: Fields = {}): Readonly<Record<string, Fields>> => ({
  'kubelet.yaml': { ...kubeletConfiguration(facts), ...more },
  'kube-proxy.yaml': proxyConfiguration(facts),
  'nodelet.yaml': nodeletConfiguration(facts),
})

const nodelet = process.env['NODELET'] ?? join(import.meta.dirname, '../../bin/nodelet')

/** The command lines of an agent, by the names of their logs; programs of the Go agent are to be given. */
export const agentCommands = (
  agent: Agent,
  { name, address, dir }: NodeFacts,
  programs: { readonly kubelet: string; readonly kubeProxy: string; readonly nodelet?: string | undefined },
): Readonly<Record<string, readonly string[]>> => {
  const flags = [
    ...[
      `--kubeconfig=${dir}/kubelet.conf`,
      `--config=${dir}/kubelet.yaml`,
      `--hostname-override=${name}`,
      `--node-ip=${address}`,
    ],
    ...[`--root-dir=${dir}/kubelet`, `--cert-dir=${dir}/kubelet/pki`, '--v=2'],
  ]
  const proxyConfig = `${dir}/kube-proxy.yaml`
  if (agent === 'kubelet') {
    return { kubelet: [programs.kubelet, ...flags], 'kube-proxy': [programs.kubeProxy, `--config=${proxyConfig}`, '--v=2'] }
  }
  return {
    nodelet: [
      programs.nodelet ?? nodelet,
      'agent',
      ...flags,
      `--nodelet-config=${dir}/nodelet.yaml`,
      `--proxy-config=${proxyConfig}`,
    ],
  }
}
