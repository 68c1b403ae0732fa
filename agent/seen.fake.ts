// Builders for tests: pods and what a runtime would show of them, with only what a case is about spelled out.
import type { Container, Pod, PodSpec } from '../api/types.ts'
import { containerHash } from './labels.ts'
import type { ContainerSeen, SandboxSeen, Seen } from './seen.ts'

export const container = (name: string, more: Partial<Container> = {}): Container => ({
  name,
  image: `image-of-${name}`,
  imagePullPolicy: 'IfNotPresent',
  ...more,
})

export const pod = (spec: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: 'web', namespace: 'default', uid: 'uid-1' },
  spec: { restartPolicy: 'Always', containers: [container('a')], ...spec },
})

export const sandbox = (more: Partial<SandboxSeen> = {}): SandboxSeen => ({
  id: 'sandbox-0',
  attempt: 0,
  ready: true,
  createdAt: 1000,
  hostNetwork: false,
  ips: ['10.0.0.2'],
  ...more,
})

const seenContainer = (name: string, more: Partial<ContainerSeen>): ContainerSeen => ({
  id: `${name}-0`,
  name,
  sandboxId: 'sandbox-0',
  state: 'running',
  createdAt: 2000,
  startedAt: 2000,
  finishedAt: 0,
  exitCode: 0,
  reason: '',
  message: '',
  image: `image-of-${name}`,
  imageRef: `sha256:${name}`,
  restartCount: 0,
  hash: containerHash({ name, image: `image-of-${name}` }),
  logPath: '',
  ...more,
})

export const running = (name: string, more: Partial<ContainerSeen> = {}): ContainerSeen => seenContainer(name, more)

export const exited = (name: string, exitCode: number, more: Partial<ContainerSeen> = {}): ContainerSeen =>
  seenContainer(name, { state: 'exited', exitCode, finishedAt: 9000, ...more })

export const created = (name: string, more: Partial<ContainerSeen> = {}): ContainerSeen =>
  seenContainer(name, { state: 'created', ...more })

export const seen = (containers: readonly ContainerSeen[] = [], sandboxes: readonly SandboxSeen[] = [sandbox()]): Seen => ({
  sandboxes,
  containers,
})
