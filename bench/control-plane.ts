// An apiserver for kube-proxy to watch: Debian's etcd and the Go kube-apiserver in a namespace of their own, with nothing else that a
// control plane has. Whoever has the token may do everything; objects are put there by the benchmark itself.
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { text } from 'node:stream/consumers'
import { createApiserver, apiserverPort as port } from '../test/support/apiserver.ts'
import { createNetns } from '../test/support/netns.ts'
import { connectNode } from './alone.ts'

const address = '203.0.113.1'
const token = 'bench'

export interface ControlPlane {
  /** A kubeconfig for the programs that ask it, as JSON, which is YAML too. */
  readonly kubeconfig: string
  /** Creates an object. @param path the collection's, such as /api/v1/namespaces/default/services */
  create(path: string, object: object): Promise<void>
  close(): Promise<void>
}

const toKubeconfig = () => ({
  ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'it' },
  clusters: [{ name: 'it', cluster: { server: `https://${address}:${port}`, 'insecure-skip-tls-verify': true } }],
  users: [{ name: 'it', user: { token } }],
  contexts: [{ name: 'it', context: { cluster: 'it', user: 'it' } }],
})

// The apiserver makes itself a certificate; it is ours, in a namespace of ours.
const agent = new Agent({ keepAlive: true, rejectUnauthorized: false })

const send = async (method: string, path: string, body?: object): Promise<string> => {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }
  const outgoing = request({ host: address, port, method, path, headers, agent })
  outgoing.end(body && JSON.stringify(body))
  const [response] = await once(outgoing, 'response')
  const answer = await text(response)
  if (response.statusCode >= 300) throw new Error(`${method} ${path}: ${response.statusCode} ${answer}`)
  return answer
}

const toFlags = (dir: string): string[] => [
  `--cert-dir=${dir}/certs`,
  '--authorization-mode=AlwaysAllow',
  `--token-auth-file=${dir}/tokens.csv`,
  '--service-account-issuer=https://kubernetes.default.svc',
  `--service-account-key-file=${dir}/sa.key`,
  `--service-account-signing-key-file=${dir}/sa.key`,
]

/** Starts etcd and the apiserver and waits until it is ready. */
export const createControlPlane = async (): Promise<ControlPlane> => {
  const dir = await mkdtemp(`${tmpdir()}/nlt-control-plane-`)
  const netns = await createNetns()
  await connectNode(netns, address)
  await writeFile(`${dir}/tokens.csv`, `${token},admin,admin,system:masters\n`)
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  await writeFile(`${dir}/sa.key`, privateKey.export({ type: 'pkcs1', format: 'pem' }))
  await writeFile(`${dir}/kubeconfig`, JSON.stringify(toKubeconfig()))
  // The namespace ends what runs in it.
  const close = async () => {
    await netns.remove()
    await rm(dir, { recursive: true, force: true })
  }
  try {
    const isReady = async () => (await send('GET', '/readyz')) === 'ok'
    await createApiserver({ netns, address, dir, flags: toFlags(dir), isReady })
  } catch (error) {
    await close()
    throw error
  }
  return { kubeconfig: `${dir}/kubeconfig`, create: async (path, object) => void (await send('POST', path, object)), close }
}
