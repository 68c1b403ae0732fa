// A node's kubelet API for tests: real TLS on loopback, an apiserver in memory that knows some tokens and rights, pods as the test
// puts them, and a runtime that answers calls as the test says.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { createFakeApi, type FakeApi } from '../../api/kube/api.fake.ts'
import type { Pod } from '../../api/types.ts'
import { type Clock, systemClock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import { type KubeletConfiguration, withKubeletDefaults } from '../config/kubelet-defaults.ts'
import { createFakeCa, type FakeCa, type Issued } from './certificates.fake.ts'
import { createKubeletApi, type KubeletApi, type KubeletApiDeps } from './kubelet-api.ts'

export interface Reply {
  readonly status: number | undefined
  readonly body: string
  readonly headers: IncomingMessage['headers']
}

export interface Caller {
  readonly token?: string
  readonly client?: Issued
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface FakeNode {
  readonly api: FakeApi
  readonly server: KubeletApi
  readonly ports: Awaited<ReturnType<KubeletApi['listen']>>
  readonly ca: FakeCa
  readonly folder: string
  readonly caFile: string
  /** The serving certificate: replaced by the test, then told. */
  readonly serving: { now: Issued | undefined; tell(): void }
  pods: readonly Pod[]
  options(path: string, caller?: Caller): object
  /** The response as soon as its head is there. */
  open(path: string, caller?: Caller): Promise<IncomingMessage>
  ask(path: string, caller?: Caller): Promise<Reply>
}

/** Tokens of the apiserver: name of the user, and the subresources of nodes that they may get and create. */
const users: Readonly<Record<string, readonly [name: string, subresources: readonly string[]]>> = {
  admin: ['admin', ['*']],
  scraper: ['scraper', ['metrics', 'stats']],
  watcher: ['watcher', ['pods']],
  nobody: ['nobody', []],
}

interface Review {
  readonly spec: {
    readonly token: string
    readonly user: string
    readonly resourceAttributes: { readonly subresource: string }
  }
}

const createApiserver = (): FakeApi => {
  const api = createFakeApi()
  api.react({ resource: 'tokenreviews' }, ({ body }) => {
    const found = users[(body as Review).spec.token]
    const status = found
      ? { authenticated: true, user: { username: found[0], uid: 'u', groups: ['g'] } }
      : { authenticated: false }
    return { metadata: {}, status }
  })
  api.react({ resource: 'subjectaccessreviews' }, ({ body }) => {
    const { user, resourceAttributes } = (body as Review).spec
    const rights = Object.values(users).find(([name]) => name === user)?.[1] ?? []
    return { metadata: {}, status: { allowed: rights.some(it => it === '*' || it === resourceAttributes.subresource) } }
  })
  return api
}

const refuseAll = () => Promise.reject(new Fault('runtime-away', 'containerd does not answer'))

export const noRuntime: KubeletApiDeps['cri'] = {
  exec: refuseAll,
  attach: refuseAll,
  portForward: refuseAll,
  execSync: refuseAll,
  containerStatus: () => Promise.reject(new Fault('not-found', 'no such container')),
  checkpointContainer: refuseAll,
  listPodSandbox: refuseAll,
  listContainers: refuseAll,
}

const running = { state: { running: { startedAt: '' } }, ready: true, restartCount: 0, image: '', imageID: '' }

/** A pod `web` with a running container `c`, whose id is `id`. */
export const webPod: Pod = {
  metadata: { name: 'web', namespace: 'default', uid: 'uid-web' },
  spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i' }] },
  status: { phase: 'Running', containerStatuses: [{ name: 'c', ...running, containerID: 'containerd://id' }] },
}

export interface FakeNodeOptions {
  readonly kubelet?: Partial<KubeletConfiguration>
  readonly cri?: Partial<KubeletApiDeps['cri']>
  readonly more?: Partial<KubeletApiDeps>
  readonly clock?: Clock
}

export const createFakeNode = async (
  teardown: (end: () => Promise<unknown>) => void,
  { kubelet, cri, more, clock = systemClock }: FakeNodeOptions = {},
): Promise<FakeNode> => {
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-kubelet-api-'))
  const ca = await createFakeCa('cluster')
  const caFile = join(folder, 'ca.crt')
  await writeFile(caFile, ca.cert)
  const api = createApiserver()
  const listeners = new Set<() => void>()
  const serving: FakeNode['serving'] = {
    now: await ca.issue({ subject: 'CN=system:node:n1', usage: 'server' }),
    tell: () => listeners.forEach(it => void it()),
  }
  const defaults = withKubeletDefaults({
    authentication: { x509: { clientCAFile: caFile } },
    healthzPort: 0,
    address: '127.0.0.1',
  })
  const server = createKubeletApi({
    config: { nodeName: 'n1', rootDir: folder, kubelet: { ...defaults, port: 0, ...kubelet } },
    servingCertificate: {
      current: () => serving.now,
      onChange: listener => {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      },
    },
    api,
    view: { pods: () => node.pods, logFolder: () => join(folder, 'logs') },
    cri: { ...noRuntime, ...cri },
    syncLoop: () => undefined,
    extra: {},
    systemLogsDir: join(folder, 'var-log'),
    clock,
    log: silentLog,
    ...more,
  })
  const ports = await server.listen()
  teardown(async () => {
    await server.close()
    await rm(folder, { recursive: true })
  })
  const options = (path: string, { token, client, method = 'GET', headers }: Caller = {}) => ({
    ...{ host: '127.0.0.1', port: ports.secure, path, method, agent: false, ca: ca.cert, ...client },
    headers: { ...(token && { Authorization: `Bearer ${token}` }), ...headers },
  })
  const node: FakeNode = {
    ...{ api, server, ports, ca, folder, caFile, serving, pods: [webPod], options },
    open: (path, caller) => new Promise((resolve, reject) => request(options(path, caller), resolve).on('error', reject).end()),
    ask: async (path, caller) => {
      const response = await node.open(path, caller)
      return { status: response.statusCode, body: await text(response), headers: response.headers }
    },
  }
  return node
}
