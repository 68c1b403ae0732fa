// How the runtime in memory (cri.fake.ts) shows what it holds: pure functions from its records to the CRI's messages.
import type { FakeContainer, FakeSandbox } from './cri-runtime.fake.ts'
import type { ContainerStats, PodSandboxStats } from './stats.ts'
import type { Container, ContainerStatus, PodSandbox, PodSandboxStatus, StringMap } from './types.ts'

export const matches = (labels: StringMap = {}, selector: StringMap = {}) =>
  Object.entries(selector).every(([key, value]) => labels[key] === value)

export const toSandbox = ({ id, config, state, createdAt, runtimeHandler }: FakeSandbox): PodSandbox => {
  const { metadata, labels = {}, annotations = {} } = config
  return { id, metadata, state, createdAt, labels, annotations, runtimeHandler }
}

export const toSandboxStatus = (it: FakeSandbox): PodSandboxStatus => {
  const [ip = '', ...more] = it.state === 'SANDBOX_READY' ? it.ips : []
  const options = it.config.linux?.securityContext?.namespaceOptions ?? {}
  return { ...toSandbox(it), network: { ip, additionalIps: more.map(ip => ({ ip })) }, linux: { namespaces: { options } } }
}

export const toContainer = ({ id, sandboxId, config, state, createdAt }: FakeContainer): Container => ({
  id,
  podSandboxId: sandboxId,
  metadata: config.metadata,
  image: config.image,
  imageRef: `sha256:${config.image.image}`,
  imageId: `sha256:${config.image.image}`,
  state,
  createdAt,
  labels: config.labels ?? {},
  annotations: config.annotations ?? {},
})

export const toContainerStatus = (it: FakeContainer, sandbox: FakeSandbox | undefined): ContainerStatus => {
  const { id, metadata, state, createdAt, image, imageRef, imageId, labels, annotations } = toContainer(it)
  const { startedAt, finishedAt, exitCode, reason, config, resources } = it
  const logPath = config.logPath === undefined ? '' : `${sandbox?.config.logDirectory ?? ''}/${config.logPath}`
  return {
    ...{ id, metadata, state, createdAt, startedAt, finishedAt, exitCode, image, imageRef, imageId, labels, annotations },
    ...{ reason, message: '', mounts: config.mounts ?? [], logPath, user: null },
    resources: resources === undefined ? null : { linux: resources },
    stopSignal: config.stopSignal ?? 'RUNTIME_DEFAULT',
  }
}

const noStats = { cpu: null, memory: null, swap: null, io: null, writableLayer: null } as const

export const toStats = (it: FakeContainer): ContainerStats => {
  const { id, metadata, labels, annotations } = toContainer(it)
  return { attributes: { id, metadata, labels, annotations }, ...noStats }
}

export const toPodStats = (it: FakeSandbox): PodSandboxStats => {
  const { id, metadata, labels, annotations } = toSandbox(it)
  return { attributes: { id, metadata, labels, annotations }, linux: null }
}
