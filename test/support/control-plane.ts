// A real control plane in a namespace on a fabric: etcd, kube-apiserver, controller-manager and scheduler of the release in peers.ts, with
// certificates and kubeconfigs made by kubeadm. Tests ask it with kubectl, or by its API over `kubectl proxy`, which costs no process.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { text } from 'node:stream/consumers'
import type { RunOptions, RunResult } from '../../host/exec.ts'
import { apiserverPort, createApiserver, serviceRange } from './apiserver.ts'
import { createFabric, type Fabric } from './fabric.ts'
import { uniqueName } from './names.ts'
import type { Netns } from './netns.ts'
import { peer, release } from './peers.ts'
import { startProgram } from './programs.ts'
import { waitFor } from './wait.ts'

/** The range of the pods' addresses; each node gets a /24 of it from the controller manager. */
export const podRange = '10.244.0.0/16'
/** Where the cluster's DNS answers when there is one. */
export const dnsAddress = '10.96.0.10'
const hostNumber = 10

export interface Identity {
  readonly user: string
  readonly groups?: readonly string[]
  /** How long its certificate is good for, such as 1s; a year when not given. */
  readonly validity?: string
}

export interface ControlPlane {
  readonly dir: string
  readonly fabric: Fabric
  readonly netns: Netns
  /** https://ADDRESS:6443 */
  readonly server: string
  /** The administrator's. */
  readonly kubeconfig: string
  /** Paths of the cluster's certificate authority. */
  readonly ca: { readonly certificate: string; readonly key: string }
  /** What the apiserver shows to kubelets. */
  readonly kubeletClient: { readonly certificate: string; readonly key: string }
  /** kubectl as administrator, from the control plane's host: what it printed. @throws when it fails */
  kubectl(argv: readonly string[], options?: RunOptions): Promise<string>
  tryKubectl(argv: readonly string[], options?: RunOptions): Promise<RunResult>
  /** The argv of kubectl, for one that stays. */
  kubectlArgv(argv: readonly string[]): readonly string[]
  /** An object or a list of the API. @throws when there is none */
  get<T>(path: string): Promise<T>
  /** @throws with what the apiserver said when it refuses */
  send(method: string, path: string, body?: object): Promise<string>
  /** Creates or changes objects as `kubectl apply` does. */
  apply(...objects: readonly object[]): Promise<void>
  /** A kubeconfig with a client certificate, written to a file. @returns its path */
  credentials(identity: Identity): Promise<string>
  stopApiserver(): Promise<void>
  startApiserver(): Promise<void>
  close(): Promise<void>
}

const toKubeadm = (address: string, pki: string) => [
  {
    ...{ apiVersion: 'kubeadm.k8s.io/v1beta4', kind: 'InitConfiguration' },
    localAPIEndpoint: { advertiseAddress: address, bindPort: apiserverPort },
    nodeRegistration: { name: 'control-plane', criSocket: 'unix:///run/none.sock' },
  },
  {
    ...{ apiVersion: 'kubeadm.k8s.io/v1beta4', kind: 'ClusterConfiguration', kubernetesVersion: release },
    ...{ certificatesDir: pki, clusterName: 'it', controlPlaneEndpoint: `${address}:${apiserverPort}` },
    // Quicker to make than RSA keys.
    encryptionAlgorithm: 'ECDSA-P256',
    networking: { serviceSubnet: serviceRange, podSubnet: podRange },
  },
]

const usualFlags = (pki: string) => [
  ...['--authorization-mode=Node,RBAC', '--enable-admission-plugins=NodeRestriction', '--allow-privileged=true'],
  ...['--enable-bootstrap-token-auth=true', '--enable-aggregator-routing=true', `--client-ca-file=${pki}/ca.crt`],
  ...[`--tls-cert-file=${pki}/apiserver.crt`, `--tls-private-key-file=${pki}/apiserver.key`],
  `--kubelet-client-certificate=${pki}/apiserver-kubelet-client.crt`,
  `--kubelet-client-key=${pki}/apiserver-kubelet-client.key`,
  ...['--kubelet-preferred-address-types=InternalIP', '--service-account-issuer=https://kubernetes.default.svc.cluster.local'],
  ...[`--service-account-key-file=${pki}/sa.pub`, `--service-account-signing-key-file=${pki}/sa.key`],
  ...[`--requestheader-client-ca-file=${pki}/front-proxy-ca.crt`, '--requestheader-allowed-names=front-proxy-client'],
  ...['--requestheader-extra-headers-prefix=X-Remote-Extra-', '--requestheader-group-headers=X-Remote-Group'],
  `--requestheader-username-headers=X-Remote-User`,
  ...[`--proxy-client-cert-file=${pki}/front-proxy-client.crt`, `--proxy-client-key-file=${pki}/front-proxy-client.key`],
]

const asWhom = (kubeconfig: string) =>
  ['kubeconfig', 'authentication-kubeconfig', 'authorization-kubeconfig'].map(flag => `--${flag}=${kubeconfig}`)

const controllerFlags = (pki: string) => [
  ...['--allocate-node-cidrs=true', `--cluster-cidr=${podRange}`, `--service-cluster-ip-range=${serviceRange}`],
  ...[`--root-ca-file=${pki}/ca.crt`, `--service-account-private-key-file=${pki}/sa.key`, '--leader-elect=false'],
  ...[`--cluster-signing-cert-file=${pki}/ca.crt`, `--cluster-signing-key-file=${pki}/ca.key`],
  ...['--use-service-account-credentials=true', '--controllers=*,bootstrapsigner,tokencleaner'],
]

/** The API by way of `kubectl proxy` on a unix socket: as administrator. */
const createSender = (socketPath: string) => {
  const agent = new Agent({ keepAlive: true })
  return async (method: string, path: string, body?: object): Promise<string> => {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const type = method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json'
    const outgoing = request({ socketPath, method, path, agent, headers: { 'Content-Type': type } }, response => {
      text(response).then(answer => {
        if ((response.statusCode ?? 0) < 300) resolve(answer)
        else reject(new Error(`${method} ${path}: ${response.statusCode} ${answer}`))
      }, reject)
    })
    outgoing.on('error', reject).end(body && JSON.stringify(body))
    return promise
  }
}

/** Credentials as kubeadm makes them. */
const createKubeadm = async (netns: Netns, dir: string, address: string) => {
  const program = await peer('kubeadm')
  const config = `${dir}/kubeadm.yaml`
  const documents = toKubeadm(address, `${dir}/pki`).map(it => JSON.stringify(it))
  await writeFile(config, documents.join('\n---\n'))
  const run = async (argv: readonly string[]) =>
    (await netns.run([program, ...argv, '--config', config], { timeoutMs: 60_000 })).stdout
  return {
    prepare: async () => {
      await run(['init', 'phase', 'certs', 'all'])
      const kinds = ['super-admin', 'controller-manager', 'scheduler']
      await Promise.all(kinds.map(it => run(['init', 'phase', 'kubeconfig', it, '--kubeconfig-dir', dir])))
    },
    credentials: async ({ user, groups = [], validity = '8760h' }: Identity) => {
      const path = `${dir}/${uniqueName()}.conf`
      const organizations = groups.flatMap(it => ['--org', it])
      const made = await run(['kubeconfig', 'user', '--client-name', user, ...organizations, '--validity-period', validity])
      await writeFile(path, made.slice(made.indexOf('apiVersion:')), { mode: 0o600 })
      return path
    },
  }
}

/** The programs beside the apiserver: they find it by their kubeconfigs and need no waiting for. */
const startControllers = async (netns: Netns, dir: string) => {
  const programs = [
    ['kube-controller-manager', 'controller-manager.conf', controllerFlags(`${dir}/pki`)],
    ['kube-scheduler', 'scheduler.conf', ['--leader-elect=false']],
  ] as const
  for (const [name, kubeconfig, flags] of programs) {
    const argv = [await peer(name), ...asWhom(`${dir}/${kubeconfig}`), ...flags]
    await startProgram({ netns, log: `${dir}/${name}.log`, argv })
  }
}

const group = 'rbac.authorization.k8s.io'
const toBinding = (name: string, role: string, subject: object) => ({
  ...{ apiVersion: `${group}/v1`, kind: 'ClusterRoleBinding', metadata: { name } },
  roleRef: { apiGroup: group, kind: 'ClusterRole', name: role },
  subjects: [{ apiGroup: group, ...subject }],
})
/** What kubeadm binds after the certificates are made: administrators, and the identity with which the apiserver asks kubelets. */
const bindings = [
  toBinding('kubeadm:cluster-admins', 'cluster-admin', { kind: 'Group', name: 'kubeadm:cluster-admins' }),
  toBinding('kubeadm:apiserver-kubelet-client', 'system:kubelet-api-admin', {
    kind: 'User',
    name: 'kube-apiserver-kubelet-client',
  }),
]

export interface ControlPlaneOptions {
  /** Over the usual ones. */
  readonly apiserverFlags?: readonly string[]
}

/** Starts all of it and waits until it answers. */
export const createControlPlane = async ({ apiserverFlags = [] }: ControlPlaneOptions = {}): Promise<ControlPlane> => {
  const dir = await mkdtemp(`${tmpdir()}/nlt-control-plane-`)
  const fabric = await createFabric()
  // The namespaces end what runs in them.
  const close = async () => {
    await fabric.close()
    await rm(dir, { recursive: true, force: true })
  }
  try {
    return await startControlPlane(dir, fabric, apiserverFlags, close)
  } catch (error) {
    await close()
    throw error
  }
}

const startControlPlane = async (
  dir: string,
  fabric: Fabric,
  more: readonly string[],
  close: () => Promise<void>,
): Promise<ControlPlane> => {
  const [kubectl, address] = [await peer('kubectl'), fabric.address(hostNumber)]
  const netns = await fabric.host(hostNumber)
  const pki = `${dir}/pki`
  const kubeconfig = `${dir}/super-admin.conf`
  await mkdir(pki)
  const kubeadm = await createKubeadm(netns, dir, address)
  await kubeadm.prepare()
  const send = createSender(`${dir}/api.sock`)
  const kubectlArgv = (argv: readonly string[]) => [kubectl, '--kubeconfig', kubeconfig, ...argv]
  await startProgram({
    netns,
    log: `${dir}/proxy.log`,
    argv: kubectlArgv(['proxy', '--unix-socket', `${dir}/api.sock`, '--disable-filter']),
  })
  const isReady = async () => (await send('GET', '/readyz')) === 'ok'
  const apiserver = await createApiserver({ netns, address, dir, flags: [...usualFlags(pki), ...more], isReady })
  await startControllers(netns, dir)
  const bind = (binding: object) => send('POST', `/apis/${group}/v1/clusterrolebindings`, binding)
  for (const binding of bindings) await waitFor('the first roles', () => bind(binding))
  // Pods are refused until their account is there.
  await waitFor('the account of pods', () => send('GET', '/api/v1/namespaces/default/serviceaccounts/default'), 30_000)
  // kubectl keeps what it learned of the API in its home.
  const withHome = (options: RunOptions) => ({ timeoutMs: 60_000, ...options, env: { HOME: dir, ...options.env } })
  const run = async (argv: readonly string[], options: RunOptions = {}) =>
    (await netns.run(kubectlArgv(argv), withHome(options))).stdout.trimEnd()
  return {
    ...{ dir, fabric, netns, kubeconfig, send, kubectlArgv, close, kubectl: run, credentials: kubeadm.credentials },
    server: `https://${address}:${apiserverPort}`,
    ca: { certificate: `${pki}/ca.crt`, key: `${pki}/ca.key` },
    kubeletClient: { certificate: `${pki}/apiserver-kubelet-client.crt`, key: `${pki}/apiserver-kubelet-client.key` },
    tryKubectl: (argv, options = {}) => netns.exec.try(kubectlArgv(argv), withHome(options)),
    get: async <T>(path: string) => JSON.parse(await send('GET', path)) as T,
    apply: async (...objects) => {
      const items = { apiVersion: 'v1', kind: 'List', items: objects }
      await run(['apply', '-f', '-'], { input: JSON.stringify(items) })
    },
    stopApiserver: apiserver.stop,
    startApiserver: apiserver.start,
  }
}
