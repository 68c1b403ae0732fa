// Manifests for a test's node, as short as they can be: what a test does not speak of has a value that makes it quick.
import { busyboxImage, webImage } from './images.ts'

type Fields = Readonly<Record<string, unknown>>

/** A container of busybox that runs a script; ends at SIGTERM, since an init passes it on. */
export const script = (text: string, more: Fields = {}): Fields => ({
  name: 'c',
  image: busyboxImage,
  command: ['catatonit', '--', 'sh', '-c', text],
  ...more,
})

/** A container that does nothing until it is ended. */
export const idle = (more: Fields = {}): Fields => script('exec sleep infinity', more)

/** A container that is the shell itself: traps of the script see the signals. */
export const bareScript = (text: string, more: Fields = {}): Fields => ({
  name: 'c',
  image: busyboxImage,
  command: ['sh', '-c', text],
  ...more,
})

/** The web server of the test images, on port 80. */
export const web = (more: Fields = {}): Fields => ({
  name: 'c',
  image: webImage,
  ports: [{ name: 'http', containerPort: 80 }],
  ...more,
})

/** A pod of one container or several, with a grace period of 1 s. */
export const podOf = (name: string, containers: Fields | readonly Fields[], spec: Fields = {}, metadata: Fields = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, ...metadata },
  spec: { terminationGracePeriodSeconds: 1, containers: Array.isArray(containers) ? containers : [containers], ...spec },
})

export const configMap = (name: string, data: Fields) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data })

export const secret = (name: string, stringData: Fields, more: Fields = {}) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name },
  stringData,
  ...more,
})

/** A Service of the pods labelled `app: NAME`. */
export const service = (name: string, ports: readonly Fields[], spec: Fields = {}) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name },
  spec: { selector: { app: name }, ports, ...spec },
})

/** The host's own programs inside a container: perl-base, which every Debian has, speaks UDP and SysV shared memory. */
export const hostPrograms = {
  volumes: [
    { name: 'usr', hostPath: { path: '/usr' } },
    { name: 'lib', hostPath: { path: '/usr/lib' } },
    { name: 'lib64', hostPath: { path: '/usr/lib64' } },
  ],
  volumeMounts: ['usr', 'lib', 'lib64'].map(name => ({ name, mountPath: `/${name}`, readOnly: true })),
} as const
