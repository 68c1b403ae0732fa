// A kubeconfig for a proxy that runs as a pod and was given none: its service account's token and the apiserver's Service.
// Follows client-go's InClusterConfig. The file only names the token's file, which is read again when it is renewed.
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { hostPort } from '../../host/address.ts'
import { Fault } from '../../host/fault.ts'
import { writeFileAtomic } from '../../host/files.ts'

const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount'

/** @returns the content of a kubeconfig, which is YAML's subset JSON */
export const toInClusterKubeconfig = (host: string, port: number, folder: string): string => {
  const cluster = { server: `https://${hostPort(host, port)}`, 'certificate-authority': join(folder, 'ca.crt') }
  return JSON.stringify({
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'pod' },
    clusters: [{ name: 'pod', cluster }],
    users: [{ name: 'pod', user: { tokenFile: join(folder, 'token') } }],
    contexts: [{ name: 'pod', context: { cluster: 'pod', user: 'pod' } }],
  })
}

/**
 * Writes the file into a folder of this process's own.
 * @returns its path
 * @throws Fault `bad-config` when this is no pod with a service account
 */
export const writeInClusterKubeconfig = async (
  folder: string,
  env: NodeJS.ProcessEnv = process.env,
  account = accountFolder,
): Promise<string> => {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env
  const hasToken = await access(join(account, 'token')).then(
    () => true,
    () => false,
  )
  if (!host || !port || !hasToken)
    throw new Fault(
      'bad-config',
      'clientConnection.kubeconfig: required: this is no pod with a service account, which could do without; want the path of a kubeconfig, also by --kubeconfig',
      { retry: 'never' },
    )
  const path = join(folder, 'kubeconfig')
  await writeFileAtomic(path, toInClusterKubeconfig(host, Number(port), account), { mode: 0o600 })
  return path
}
