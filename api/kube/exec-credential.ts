// Runs the credential plugin of a kubeconfig user and reads what it answers.
// Keeps nothing: connection.ts asks again when the answer expires or the apiserver no longer takes it.
// Follows client.authentication.k8s.io/v1 ExecCredential, without a terminal.
import type { Exec } from '../../host/exec.ts'
import { Fault } from '../../host/fault.ts'
import type { ExecPlugin, Kubeconfig } from './kubeconfig.ts'

export interface ExecAnswer {
  readonly token?: string
  readonly certificate?: string
  readonly key?: string
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number
}

interface ExecCredential {
  readonly kind?: string
  readonly apiVersion?: string
  readonly status?: {
    readonly token?: string
    readonly clientCertificateData?: string
    readonly clientKeyData?: string
    readonly expirationTimestamp?: string
  }
}

const clusterOf = ({ server, ca, insecure, serverName }: Kubeconfig) => ({
  server,
  'insecure-skip-tls-verify': insecure,
  ...(ca && { 'certificate-authority-data': Buffer.from(ca.pem).toString('base64') }),
  ...(serverName !== undefined && { 'tls-server-name': serverName }),
})

/**
 * @throws Fault `api-unauthorized` when the program cannot be run or answers nothing usable
 */
export const runExecPlugin = async (exec: Pick<Exec, 'run'>, plugin: ExecPlugin, config: Kubeconfig): Promise<ExecAnswer> => {
  const program = plugin.argv[0]
  const fail = (why: string, cause?: unknown) =>
    new Fault('api-unauthorized', `kubeconfig ${config.path}: user "${config.user}": exec ${program} ${why}`, {
      ...(cause !== undefined && { cause }),
    })
  const asked = {
    apiVersion: plugin.apiVersion,
    kind: 'ExecCredential',
    spec: { interactive: false, ...(plugin.provideClusterInfo && { cluster: clusterOf(config) }) },
  }
  const env = { ...plugin.env, KUBERNETES_EXEC_INFO: JSON.stringify(asked) }
  const { stdout } = await exec.run(plugin.argv, { env, timeoutMs: 60_000 }).catch((error: unknown) => {
    throw fail(plugin.installHint === undefined ? 'failed' : `failed (${plugin.installHint.trim()})`, error)
  })
  let answer: ExecCredential
  try {
    answer = JSON.parse(stdout) as ExecCredential
  } catch (error) {
    throw fail('answered no JSON; it must print an ExecCredential', error)
  }
  const { token, clientCertificateData: certificate, clientKeyData: key, expirationTimestamp } = answer.status ?? {}
  if (answer.kind !== 'ExecCredential' || answer.apiVersion !== plugin.apiVersion)
    throw fail(`answered ${answer.apiVersion} ${answer.kind}; it must be ${plugin.apiVersion} ExecCredential`)
  if (token === undefined && (certificate === undefined || key === undefined))
    throw fail('answered neither status.token nor status.clientCertificateData with clientKeyData')
  return {
    ...(token !== undefined && { token }),
    ...(certificate !== undefined && key !== undefined && { certificate, key }),
    ...(expirationTimestamp !== undefined && { expiresAt: Date.parse(expirationTimestamp) }),
  }
}
