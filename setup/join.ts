// How a machine learns of the cluster that it is to join: by a token and the hash of the cluster's CA, as kubeadm's discovery does, or by
// a bootstrap kubeconfig. Whether the apiserver takes the credentials is tried before anything is changed on the machine.
// Follows kubeadm's token based discovery: cluster-info is signed with the token (RFC 7515, detached), its CA is pinned by the hash.
import { createHash, createHmac, timingSafeEqual, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { text } from 'node:stream/consumers'
import { parse, stringify } from 'yaml'
import type { Clock } from '../host/clock.ts'
import { Fault } from '../host/fault.ts'
import type { JoinByFile, JoinByToken } from './options.ts'
import type { ClusterSettings } from './places.ts'

/** What is written for the daemon. */
export interface Joining {
  readonly bootstrapKubeconfig: string
  /** PEM; undefined where the kubeconfig trusts whom the system trusts. */
  readonly ca: string | undefined
  readonly settings: ClusterSettings
}

interface Kubeconfig {
  readonly clusters?:
    | null
    | readonly { readonly cluster: { readonly server: string; readonly 'certificate-authority-data'?: string } }[]
  readonly users?: null | readonly { readonly user: { readonly token?: string } }[]
}

interface Answer {
  readonly status: number
  readonly body: string
}

const wrong = (message: string, cause?: unknown): Fault => new Fault('bad-config', message, { retry: 'never', cause })

interface Asking {
  readonly ca?: string | undefined
  readonly token?: string | undefined
  /** Only what is signed is believed. */
  readonly trustsAnybody?: boolean
}

const ask = (url: string, { ca, token, trustsAnybody = false }: Asking): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` }
    const options = {
      ...(ca !== undefined && { ca }),
      headers,
      rejectUnauthorized: !trustsAnybody,
      timeout: 10_000,
      agent: false,
    }
    const outgoing = request(url, options, response => {
      text(response).then(body => resolve({ status: response.statusCode ?? 0, body }), reject)
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 10 s')))
    outgoing.on('error', cause =>
      reject(new Fault('api-away', `the apiserver at ${new URL(url).host} does not answer`, { cause })),
    )
    outgoing.end()
  })

/** Whether the signature of cluster-info is of this token. */
export const isSigned = (kubeconfig: string, signature: string | undefined, token: string): boolean => {
  const [id = '', secret = ''] = token.split('.')
  const [header = '', payload, given = ''] = signature?.split('.') ?? []
  if (payload !== '') return false
  const { alg, kid } = JSON.parse(Buffer.from(header, 'base64url').toString() || '{}') as { alg?: string; kid?: string }
  if (alg !== 'HS256' || kid !== id) return false
  const own = createHmac('sha256', secret)
    .update(`${header}.${Buffer.from(kubeconfig).toString('base64url')}`)
    .digest()
  const theirs = Buffer.from(given, 'base64url')
  return own.length === theirs.length && timingSafeEqual(own, theirs)
}

/** The hash of a CA's public key, as kubeadm prints it. @param pem of one certificate */
export const caHash = (pem: string): string => {
  const key = new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' })
  return `sha256:${createHash('sha256').update(key).digest('hex')}`
}

const readKubeconfig = (content: string, name: string): { server: string; ca: string | undefined; token: string | undefined } => {
  // kubeadm writes null for a list that is empty
  const { clusters, users } = (parse(content) ?? {}) as Kubeconfig
  const cluster = clusters?.[0]?.cluster
  if (cluster?.server === undefined) throw wrong(`${name} names no apiserver`)
  const encoded = cluster['certificate-authority-data']
  return {
    server: cluster.server,
    ca: encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString(),
    token: users?.[0]?.user.token,
  }
}

const bootstrapText = (server: string, ca: string, token: string): string =>
  stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'cluster', cluster: { server, 'certificate-authority-data': Buffer.from(ca).toString('base64') } }],
    users: [{ name: 'bootstrap', user: { token } }],
    contexts: [{ name: 'bootstrap', context: { cluster: 'cluster', user: 'bootstrap' } }],
    'current-context': 'bootstrap',
  })

interface ClusterInfo {
  readonly kubeconfig: string
  /** By this token; undefined where the cluster has not signed with it. */
  readonly signature: string | undefined
}

const askClusterInfo = async ({ server, token }: JoinByToken): Promise<ClusterInfo> => {
  const { status, body } = await ask(`https://${server}/api/v1/namespaces/kube-public/configmaps/cluster-info`, {
    trustsAnybody: true,
  })
  if (status !== 200)
    throw wrong(`${server} does not offer cluster-info (status ${status}): is it the apiserver of a kubeadm cluster?`)
  const { data = {} } = JSON.parse(body) as { data?: Readonly<Record<string, string>> }
  return { kubeconfig: data['kubeconfig'] ?? '', signature: data[`jws-kubeconfig-${token.split('.')[0]}`] }
}

// A token is made first and signed with a moment later, by the controller manager: kubeadm, too, asks again meanwhile.
type JoinClock = Pick<Clock, 'monotonic' | 'sleep'>
const signingMs = 15_000
const askAgainMs = 500

const waitForSignature = async (join: JoinByToken, clock: JoinClock, patienceMs: number): Promise<ClusterInfo> => {
  const deadline = clock.monotonic() + patienceMs
  for (;;) {
    const info = await askClusterInfo(join)
    if (info.signature !== undefined || clock.monotonic() + askAgainMs > deadline) return info
    await clock.sleep(askAgainMs)
  }
}

/** The apiserver and its CA, from cluster-info. */
const discover = async (
  join: JoinByToken,
  clock: JoinClock,
  patienceMs: number,
): Promise<{ readonly server: string; readonly ca: string }> => {
  const { token, caHashes } = join
  const { kubeconfig, signature } = await waitForSignature(join, clock, patienceMs)
  if (!isSigned(kubeconfig, signature, token))
    throw wrong(
      '--token: the cluster does not know it, or it has ended: `kubeadm token create --print-join-command` makes another',
    )
  const found = readKubeconfig(kubeconfig, 'cluster-info')
  if (found.ca === undefined || !caHashes.includes(caHash(found.ca)))
    throw wrong(
      `--discovery-token-ca-cert-hash: the CA of the cluster has ${found.ca === undefined ? 'no certificate' : caHash(found.ca)}`,
    )
  return { server: found.server, ca: found.ca }
}

const kubeadmDefaults: ClusterSettings = { clusterDNS: ['10.96.0.10'], clusterDomain: 'cluster.local' }

/** What kubeadm keeps for those that join; its defaults where the cluster has none or shows it to nobody. */
const readSettings = async (server: string, asking: Asking): Promise<ClusterSettings> => {
  const { status, body } = await ask(`${server}/api/v1/namespaces/kube-system/configmaps/kubelet-config`, asking)
  if (status === 401)
    throw wrong(`the apiserver at ${server} does not take the token of the bootstrap credentials: it is wrong, or has ended`)
  if (status !== 200) return kubeadmDefaults
  const { data = {} } = JSON.parse(body) as { data?: Readonly<Record<string, string>> }
  const { clusterDNS, clusterDomain } = (parse(data['kubelet'] ?? '') ?? {}) as Partial<ClusterSettings>
  return { clusterDNS: clusterDNS ?? kubeadmDefaults.clusterDNS, clusterDomain: clusterDomain ?? kubeadmDefaults.clusterDomain }
}

/**
 * @param patienceMs how long a cluster may take to sign with a token that is new
 * @throws Fault `bad-config` for credentials that are wrong, `api-away` when nobody answers
 */
export const prepareJoin = async (join: JoinByToken | JoinByFile, clock: JoinClock, patienceMs = signingMs): Promise<Joining> => {
  if (join.by === 'token') {
    const { server, ca } = await discover(join, clock, patienceMs)
    const settings = await readSettings(server, { ca, token: join.token })
    return { bootstrapKubeconfig: bootstrapText(server, ca, join.token), ca, settings }
  }
  const content = await readFile(join.file, 'utf8').catch(cause => {
    throw wrong(`--bootstrap-kubeconfig: ${join.file} cannot be read`, cause)
  })
  const { server, ca, token } = readKubeconfig(content, join.file)
  return { bootstrapKubeconfig: content, ca, settings: await readSettings(server, { ca, token }) }
}
