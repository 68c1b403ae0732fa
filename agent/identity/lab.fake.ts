// One node's certificate folder, apiserver and signer, for the tests of this folder: real files and keys, no network, time that stands.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createFakeApi, type FakeApi } from '../../api/kube/api.fake.ts'
import { type FakeClock, fakeClock } from '../../host/clock.fake.ts'
import type { Log } from '../../host/log.ts'
import { createIdentity, type Identity, type IdentityDeps } from './identity.ts'
import { createFakeSigner, type FakeSigner } from './signer.fake.ts'

export interface Line {
  readonly level: string
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

export interface Lab {
  readonly root: string
  readonly certDir: string
  readonly kubeconfig: string
  readonly bootstrapKubeconfig: string
  readonly clock: FakeClock
  readonly api: FakeApi
  readonly signer: FakeSigner
  readonly lines: readonly Line[]
  /** Kubeconfigs that were connected with, in order. */
  readonly connected: readonly string[]
  identity(more?: Partial<IdentityDeps>): Identity
  /** Resolves when `condition` holds, without moving time. */
  eventually(condition: () => unknown, what: string): Promise<void>
  /** Moves time on, second by second, until `condition` holds; files are read and keys made in real time meanwhile. */
  advanceUntil(condition: () => unknown, what: string, stepMs?: number): Promise<void>
}

const bootstrapText = `apiVersion: v1
kind: Config
clusters:
- {name: c, cluster: {server: 'https://10.0.0.1:6443', certificate-authority-data: ${Buffer.from('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n').toString('base64')}}}
contexts:
- {name: x, context: {cluster: c, user: u}}
current-context: x
users:
- {name: u, user: {token: abcdef.0123456789abcdef}}
`

const recorder = (lines: Line[]): Log => {
  const at = (level: string) => (fields: object, message: string) => void lines.push({ level, message, fields: { ...fields } })
  const log: Log = { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug'), child: () => log }
  return log
}

const patienceMs = 5000
const breathe = () => new Promise<void>(resolve => setTimeout(resolve, 2))

export const createLab = async (teardown: (end: () => Promise<void>) => void): Promise<Lab> => {
  const root = await mkdtemp(join(tmpdir(), 'nodelet-identity-'))
  const certDir = join(root, 'pki')
  const bootstrapKubeconfig = join(root, 'bootstrap-kubelet.conf')
  const kubeconfig = join(root, 'kubelet.conf')
  await writeFile(bootstrapKubeconfig, bootstrapText, { mode: 0o600 })
  const clock = fakeClock()
  const api = createFakeApi({ now: clock.now })
  const signer = await createFakeSigner(api, clock)
  const lines: Line[] = []
  const connected: string[] = []
  const identities: Identity[] = []
  teardown(async () => {
    await Promise.all(identities.map(it => it.stop()))
    await rm(root, { recursive: true, force: true })
  })
  const waitFor = async (condition: () => unknown, what: string, between: () => Promise<void>) => {
    const end = performance.now() + patienceMs
    while (!condition()) {
      if (performance.now() > end) throw new Error(`waited in vain for ${what}; the log: ${JSON.stringify(lines)}`)
      await between()
    }
  }
  return {
    root,
    certDir,
    kubeconfig,
    bootstrapKubeconfig,
    clock,
    api,
    signer,
    lines,
    connected,
    identity: (more = {}) => {
      const identity = createIdentity({
        nodeName: 'n1',
        certDir,
        kubeconfig,
        bootstrapKubeconfig,
        rotateCertificates: true,
        serverTLSBootstrap: false,
        tlsCertFile: '',
        tlsPrivateKeyFile: '',
        addresses: () => [
          { type: 'InternalIP', address: '10.0.0.5' },
          { type: 'Hostname', address: 'n1' },
        ],
        connect: path => {
          connected.push(path)
          return api
        },
        clock,
        log: recorder(lines),
        random: () => 0.5,
        ...more,
      })
      identities.push(identity)
      return identity
    },
    eventually: (condition, what) => waitFor(condition, what, breathe),
    advanceUntil: (condition, what, stepMs = 1000) =>
      waitFor(condition, what, async () => {
        await clock.advance(stepMs)
        await breathe()
      }),
  }
}
