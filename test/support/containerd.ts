// A containerd of a test's own: folders, socket and CNI directories in a temporary folder, cgroups under a root of its own,
// the network of a namespace. It can be killed and started again; `close` leaves nothing of it or of its containers.
// CONTAINERD names another binary than Debian's 1.6 (its shim and ctr are then looked for beside it).
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Cri, createCri } from '../../api/cri/client.ts'
import { silentLog } from '../../host/log.ts'
import { removeCgroups, unmountBelow } from './clean.ts'
import { busyboxImage, importImages, pauseImage } from './images.ts'
import { uniqueName } from './names.ts'
import type { Netns } from './netns.ts'
import { endProcess, processIds } from './processes.ts'
import { waitFor } from './wait.ts'

export interface ContainerdOptions {
  /** The host it runs in; without it, no network sandbox may be made but those of the host's network. */
  readonly netns?: Netns
  /** Images that are there from the start, beside the pause image. */
  readonly images?: readonly string[]
  /**
   * A network by Debian's bridge plugin: the pods' subnet, such as 10.99.0.0/24, or `later` for writeConflist. Without it, the test brings
   * its own plugin.
   */
  readonly bridge?: string
  /** What pods on the host's network see as its name; without it, this machine's. */
  readonly hostname?: string
}

export interface TestContainerd {
  /** unix:///…: for createCri and the daemon's configuration. */
  readonly endpoint: string
  readonly socket: string
  /** Everything of this containerd; the test may put files here too. */
  readonly dir: string
  readonly cniBin: string
  readonly cniConf: string
  /** Give it to every sandbox as (the beginning of) its cgroupParent: /nlt-… */
  readonly cgroupParent: string
  readonly cri: Cri
  /** What it has logged so far. */
  log(): Promise<string>
  /** Ends it as kill -9 does; its containers go on. */
  kill(): Promise<void>
  /** Starts it again and waits until it answers. */
  start(): Promise<void>
  close(): Promise<void>
}

const toConfig = (dir: string) => `version = 2
root = "${dir}/root"
state = "${dir}/state"
oom_score = 0
[grpc]
  address = "${dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE a lower oom_score_adj than our own cannot be set.
  restrict_oom_score_adj = true
  sandbox_image = "${pauseImage}"
  stream_server_address = "127.0.0.1"
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "${dir}/cni/bin"
  conf_dir = "${dir}/cni/conf"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "${dir}/certs.d"
`

const toConflist = (dir: string, subnet: string) => ({
  ...{ cniVersion: '1.0.0', name: 'pods' },
  plugins: [
    {
      ...{ type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true },
      ipam: { type: 'host-local', dataDir: `${dir}/ipam`, ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
})

const debianPlugins = '/usr/lib/cni'

/** The pod network of a containerd that was made with a bridge, once its subnet is known. */
export const writeConflist = (dir: string, subnet: string): Promise<void> =>
  writeFile(`${dir}/cni/conf/10-pods.conflist`, JSON.stringify(toConflist(dir, subnet)))

const prepareCni = async (dir: string, bridge: string | undefined) => {
  await mkdir(`${dir}/cni/conf`, { recursive: true })
  await mkdir(`${dir}/cni/bin`)
  // containerd calls loopback itself for every sandbox, whatever the network is.
  for (const plugin of bridge === undefined ? ['loopback'] : await readdir(debianPlugins)) {
    await symlink(join(debianPlugins, plugin), `${dir}/cni/bin/${plugin}`)
  }
  if (bridge !== undefined && bridge !== 'later') await writeConflist(dir, bridge)
}

/** The argv in front of a program that is to have a host name of its own; one process becomes the other. */
const named = (hostname: string | undefined): readonly string[] =>
  hostname === undefined ? [] : ['unshare', '--uts', 'sh', '-c', 'hostname "$1" && shift && exec "$@"', 'sh', hostname]

/** Pids of the shims that serve the containerd at this socket: its address is one of their arguments. */
const shimsOf = async (socket: string): Promise<readonly number[]> => {
  const found: number[] = []
  for (const pid of await processIds()) {
    const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (argv.includes('-address') && argv.includes(socket)) found.push(pid)
  }
  return found
}

const endShims = (socket: string) =>
  waitFor(`the shims of ${socket} to end`, async () => {
    const pids = await shimsOf(socket)
    for (const pid of pids) endProcess(pid)
    return pids.length === 0
  })

const removeSandboxes = async (cri: Cri) => {
  for (const { id } of await cri.listPodSandbox()) {
    await cri.stopPodSandbox(id, { timeoutMs: 15_000 })
    await cri.removePodSandbox(id, { timeoutMs: 15_000 })
  }
}

/** Starts a containerd and waits until its CRI answers and its images are there. */
export const createContainerd = async ({
  netns,
  images = [busyboxImage],
  bridge,
  hostname,
}: ContainerdOptions = {}): Promise<TestContainerd> => {
  const name = uniqueName()
  const dir = await mkdtemp(join(tmpdir(), `${name}-`))
  const socket = `${dir}/containerd.sock`
  await prepareCni(dir, bridge)
  await writeFile(`${dir}/config.toml`, toConfig(dir))
  const binary = process.env['CONTAINERD'] ?? 'containerd'
  const path = binary.includes('/') ? `${dirname(binary)}:${process.env['PATH']}` : process.env['PATH']
  const cri = createCri({ endpoint: socket, log: silentLog })
  let child: ChildProcess | undefined

  const start = async () => {
    const argv = [...named(hostname), binary, '--config', `${dir}/config.toml`]
    const [program = '', ...args] = netns === undefined ? argv : netns.wrap(argv)
    const log = await open(`${dir}/containerd.log`, 'a')
    const started = spawn(program, args, { stdio: ['ignore', log.fd, log.fd], env: { ...process.env, PATH: path } })
    child = started
    await log.close()
    await waitFor(`containerd (${dir}/containerd.log)`, async () => {
      if (started.exitCode !== null) throw new Error(await readFile(`${dir}/containerd.log`, 'utf8'))
      return (await cri.status(false, { timeoutMs: 1000 })).status
    })
  }
  const kill = async () => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  const close = async () => {
    await removeSandboxes(cri).catch(() => undefined)
    cri.close()
    await kill()
    await removeCgroups(name)
    await endShims(socket)
    await removeCgroups(name)
    await unmountBelow(dir)
    await rm(dir, { recursive: true, force: true })
  }

  try {
    await start()
    await importImages(socket, [...new Set([pauseImage, ...images])])
  } catch (error) {
    await close()
    throw error
  }
  return {
    ...{ endpoint: `unix://${socket}`, socket, dir, cniBin: `${dir}/cni/bin`, cniConf: `${dir}/cni/conf` },
    ...{ cgroupParent: `/${name}`, cri, kill, start, close },
    log: () => readFile(`${dir}/containerd.log`, 'utf8'),
  }
}
