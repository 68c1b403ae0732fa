// The kubeconfig that a bootstrap leaves behind: the cluster of the bootstrap's kubeconfig, the node's pair file as certificate and key.
// Reading one is api/kube/kubeconfig.ts. Names and mode are those the kubelet uses: kubeadm waits for this file and reads it.
import { dirname } from 'node:path'
import { stringify } from 'yaml'
import type { Kubeconfig } from '../../api/kube/kubeconfig.ts'
import { Fault } from '../../host/fault.ts'
import { ensureDir, writeFileAtomic } from '../../host/files.ts'

/** What of a kubeconfig says which apiserver, and whom to trust. */
export type Cluster = Pick<Kubeconfig, 'server' | 'ca' | 'insecure' | 'serverName' | 'files'>

// A certificate authority in a file stays there, so that a new one is picked up.
const authorityOf = ({ ca, files }: Cluster): object => {
  if (ca === undefined) return {}
  if (files.includes(ca.from)) return { 'certificate-authority': ca.from }
  return { 'certificate-authority-data': Buffer.from(ca.pem).toString('base64') }
}

/** The text of the file. @param pairPath the link that always leads to the certificate in use */
export const nodeKubeconfig = (cluster: Cluster, pairPath: string): string =>
  stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name: 'default-cluster',
          cluster: {
            server: cluster.server,
            ...authorityOf(cluster),
            ...(cluster.insecure && { 'insecure-skip-tls-verify': true }),
            ...(cluster.serverName !== undefined && { 'tls-server-name': cluster.serverName }),
          },
        },
      ],
      contexts: [
        { name: 'default-context', context: { cluster: 'default-cluster', namespace: 'default', user: 'default-auth' } },
      ],
      'current-context': 'default-context',
      users: [{ name: 'default-auth', user: { 'client-certificate': pairPath, 'client-key': pairPath } }],
    },
    { lineWidth: 0 },
  )

/** Writes it (0600). @throws Fault `io` naming the file */
export const writeKubeconfig = async (file: string, text: string): Promise<void> => {
  try {
    await ensureDir(dirname(file), 0o755)
    await writeFileAtomic(file, text, { mode: 0o600, durable: true })
  } catch (cause) {
    throw new Fault('io', `kubeconfig ${file} cannot be written`, { cause })
  }
}
