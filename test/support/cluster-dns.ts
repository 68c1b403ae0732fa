// The cluster's DNS as kubeadm installs it: CoreDNS behind the Service kube-dns, at the address that kubelets tell their pods.
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createImageBuilder } from '../../deploy/images.ts'
import { type ControlPlane, dnsAddress } from './control-plane.ts'
import { peer } from './peers.ts'

/** As kubeadm of the release names it. */
export const dnsImage = 'registry.k8s.io/coredns/coredns:v1.14.2'
const name = 'coredns'
const namespace = 'kube-system'
const labels = { 'k8s-app': 'kube-dns' }
const port = 53

const builder = createImageBuilder(
  { [dnsImage]: { entrypoint: ['/coredns'], fill: async root => copyFile(await peer('coredns'), join(root, 'coredns')) } },
  [import.meta.filename],
)

/** Paths of OCI archives with what runs the DNS. */
export const dnsArchives = (): Promise<readonly string[]> => builder.archives([dnsImage])

const corefile = `.:${port} {
  errors
  health
  ready
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    pods insecure
    ttl 5
  }
  cache 5
}
`

const watched = [
  { apiGroups: [''], resources: ['services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
  { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
]

const container = {
  ...{ name, image: dnsImage, args: ['-conf', '/etc/coredns/Corefile'] },
  readinessProbe: { httpGet: { path: '/ready', port: 8181 }, periodSeconds: 1 },
  volumeMounts: [{ name: 'config', mountPath: '/etc/coredns', readOnly: true }],
}

const podSpec = {
  ...{ serviceAccountName: name, dnsPolicy: 'Default', priorityClassName: 'system-cluster-critical', containers: [container] },
  volumes: [{ name: 'config', configMap: { name } }],
}

const access = 'rbac.authorization.k8s.io'
const metadata = { name, namespace }

const objects = [
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
  { apiVersion: `${access}/v1`, kind: 'ClusterRole', metadata: { name }, rules: watched },
  {
    ...{ apiVersion: `${access}/v1`, kind: 'ClusterRoleBinding', metadata: { name } },
    roleRef: { apiGroup: access, kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace }],
  },
  { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { Corefile: corefile } },
  {
    ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata },
    spec: { replicas: 1, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: podSpec } },
  },
  {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'kube-dns', namespace, labels } },
    spec: {
      ...{ clusterIP: dnsAddress, selector: labels },
      ports: ['UDP', 'TCP'].map(protocol => ({ name: `dns-${protocol.toLowerCase()}`, port, protocol })),
    },
  },
]

/** Asks for the DNS; it runs as soon as a node takes its pod, whose containerd has the image. */
export const applyClusterDns = ({ apply }: ControlPlane): Promise<void> => apply(...objects)
