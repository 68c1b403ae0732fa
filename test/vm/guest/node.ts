// The machine itself as a node, the way a user of Debian would have it: Debian's containerd service with its systemd cgroup driver,
// the daemon as a systemd service, two address families. Nothing is in a namespace; one namespace is another machine beside it.
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { KubeObject, List } from '../../../agent/server/wire.ts'
import type { Pod } from '../../../api/types.ts'
import { createDaemon } from '../../../cli/socket.ts'
import { systemExec } from '../../../host/exec.ts'
import { isFault } from '../../../host/fault.ts'
import { busyboxImage, importImages, pauseImage, webImage } from '../../support/images.ts'
import { waitFor } from '../../support/wait.ts'

const { run } = systemExec

export const nodeIPs = { IPv4: '192.0.2.1', IPv6: '2001:db8::1' } as const
const outsideIPs = { IPv4: '192.0.2.2', IPv6: '2001:db8::2' } as const
const outside = 'outside'

const manifests = '/etc/nodelet/manifests'
const daemonLog = '/var/log/nodelet.log'
const containerdSocket = '/run/containerd/containerd.sock'
const program = '/opt/nodelet/bin/nodelet'

// Debian's own file, and what the systemd driver and a machine without a registry need beside.
const containerdConfig = `version = 2
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${pauseImage}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true
`

const kubeletConfig = {
  ...{ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' },
  ...{ staticPodPath: manifests, containerRuntimeEndpoint: `unix://${containerdSocket}` },
  ...{ cgroupDriver: 'systemd', podPidsLimit: 64, podCIDR: '10.244.0.0/24,fd00:244::/64' },
}

const nodeletConfig = {
  ...{ apiVersion: 'nodelet.dev/v1alpha1', kind: 'NodeletConfiguration' },
  cni: { mode: 'enabled' },
  standalone: { serviceCIDR: '10.96.0.0/16,fd00:96::/112' },
}

const flags = [
  ...['--config', '/etc/nodelet/kubelet.json', '--nodelet-config', '/etc/nodelet/nodelet.json'],
  ...['--hostname-override', 'vm', '--node-ip', `${nodeIPs.IPv4},${nodeIPs.IPv6}`],
]

const daemon = createDaemon()

/** Links of the node, and the other machine, which knows nothing of pods and Services but the way to the node. */
export const addNetwork = async (): Promise<void> => {
  const lines = [
    `link add eth0 type veth peer name eth0 netns ${outside}`,
    `addr add ${nodeIPs.IPv4}/24 dev eth0`,
    `addr add ${nodeIPs.IPv6}/64 dev eth0 nodad`,
    'link set eth0 up',
    `route add default via ${outsideIPs.IPv4}`,
    `route add default via ${outsideIPs.IPv6}`,
  ]
  const outsideLines = [
    ...['link set lo up', `addr add ${outsideIPs.IPv4}/24 dev eth0`, `addr add ${outsideIPs.IPv6}/64 dev eth0 nodad`],
    'link set eth0 up',
  ]
  await run(['ip', 'netns', 'add', outside])
  await run(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` })
  await run(['ip', '-n', outside, '-batch', '-'], { input: `${outsideLines.join('\n')}\n` })
}

/** Images, and a containerd that has read its configuration. */
export const setUpContainerd = async (): Promise<void> => {
  await mkdir('/etc/containerd', { recursive: true })
  await writeFile('/etc/containerd/config.toml', containerdConfig)
  await run(['systemctl', 'restart', 'containerd'])
  await importImages(containerdSocket, [pauseImage, busyboxImage, webImage])
}

/** Files of configuration, and what setUpContainerd does. */
export const setUp = async (): Promise<void> => {
  await mkdir(manifests, { recursive: true })
  await writeFile('/etc/nodelet/kubelet.json', JSON.stringify(kubeletConfig))
  await writeFile('/etc/nodelet/nodelet.json', JSON.stringify(nodeletConfig))
  await setUpContainerd()
}

/** Starts the daemon as a service and waits until it answers. */
export const startDaemon = async (): Promise<void> => {
  const properties = ['KillMode=process', `StandardError=append:${daemonLog}`].flatMap(it => ['--property', it])
  await run(['systemd-run', '--quiet', '--collect', '--unit', 'nodelet', ...properties, program, 'agent', ...flags])
  await waitFor('the daemon to answer', () => daemon.text('/healthz')).catch(async error => {
    throw new Error(`${error.message}\n${await logTail(20)}`)
  })
}

/** Ends services as a crash would: no signal that they could act on. */
export const crash = async (...services: readonly string[]): Promise<void> => {
  await run(['systemctl', 'kill', '--signal=KILL', '--kill-whom=main', ...services])
}

/** Stops the daemon, and takes away everything that it made. @returns what it says it removed */
export const cleanUp = async (): Promise<readonly string[]> => {
  await run(['systemctl', 'stop', 'nodelet'])
  const { stdout } = await run([program, 'agent', '--cleanup', ...flags], { timeoutMs: 180_000 })
  return stdout.split('\n').filter(line => line !== '')
}

/** The end of the daemon's log. */
export const logTail = async (lines: number): Promise<string> =>
  (await readFile(daemonLog, 'utf8').catch(() => '')).trimEnd().split('\n').slice(-lines).join('\n')

export const putManifest = async (name: string, ...items: readonly object[]): Promise<void> => {
  await writeFile(join(manifests, `.${name}`), JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  await rename(join(manifests, `.${name}`), join(manifests, name))
}

export const removeManifest = (name: string): Promise<void> => rm(join(manifests, name))

export const list = async <T extends KubeObject>(path: string): Promise<readonly T[]> => (await daemon.json<List<T>>(path)).items

export const podNamed = (name: string): Promise<Pod | undefined> =>
  daemon.json<Pod>(`/v1/pods/default/${name}`).catch(error => {
    if (isFault(error, 'not-found')) return undefined
    throw error
  })

/** Waits until the pod is as wanted; what it waits for is said when it takes too long. */
export const until = async (name: string, wanted: (pod: Pod) => unknown): Promise<Pod> => {
  const check = async () => {
    const pod = await podNamed(name)
    return pod !== undefined && wanted(pod) ? pod : undefined
  }
  return waitFor(`pod ${name} (${wanted})`, check, 20_000).catch(async error => {
    const why = await daemon.text(`/v1/pods/default/${name}/timeline`).catch(() => '')
    throw new Error(`${error.message}\n${why}\n${await logTail(10)}`)
  })
}

export const gone = (name: string): Promise<unknown> =>
  waitFor(`pod ${name} to be gone`, async () => (await podNamed(name)) === undefined, 20_000)

/** A program in the only container of a pod; its output. @throws with all that was said when it fails */
export const execIn = async (pod: string, ...argv: readonly string[]): Promise<string> => {
  const { exitCode, stdout, stderr } = await systemExec.try([program, 'exec', pod, '--', ...argv], { timeoutMs: 60_000 })
  if (exitCode !== 0) throw new Error(`${argv.join(' ')}: exit code ${exitCode}\n${stdout}${stderr}`)
  return stdout.trimEnd()
}

const curl = ['curl', '-sS', '--fail', '--max-time', '10']

/** What the URL answers to the node itself. */
export const fetchHere = async (url: string): Promise<string> => (await run([...curl, url])).stdout.trim()

/** What it answers to the machine beside the node. */
export const fetchOutside = async (url: string): Promise<string> =>
  (await run(['nsenter', `--net=/run/netns/${outside}`, ...curl, url])).stdout.trim()
