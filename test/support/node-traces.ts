// What a node holds of its pods, looked up where it really is: runtime, mounts, cgroups, interfaces, addresses, folders, processes.
// Each thing is named by its pod (or by itself when no pod of the list owns it), so that two looks can be compared as text:
// what should be there is worked out from the pods that should run.
import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { isIP } from 'node:net'
import { basename, dirname, join } from 'node:path'
import type { Pod } from '../../api/types.ts'
import { hostLinkOf, shaperOf } from '../../cni/names.ts'
import type { TestNode } from './node.ts'
import { processIds } from './processes.ts'

/** By kind of thing, the sorted names. */
export type Holdings = Readonly<Record<string, readonly string[]>>

const uidLabel = 'io.kubernetes.pod.uid'
const uidOf = (pod: Pod) => pod.metadata.uid ?? ''

const isUp = ({ state }: { readonly state: string }) => state === 'SANDBOX_READY'

const names = (folder: string) => readdir(folder).catch(() => [])

const mountPoints = async (below: string) =>
  (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map(line => line.split(' ')[4] ?? '')
    .filter(path => path.startsWith(`${below}/`))

const podCgroups = async (cgroupParent: string): Promise<readonly string[]> => {
  const found = new Set<string>()
  for (const controller of await names('/sys/fs/cgroup')) {
    const root = `/sys/fs/cgroup/${controller}${cgroupParent}/kubepods`
    for (const parent of [root, `${root}/burstable`, `${root}/besteffort`])
      for (const name of await names(parent)) if (name.startsWith('pod')) found.add(name.slice(3))
  }
  return [...found]
}

/** Processes in the node's namespace that are neither containerd nor the daemon nor a pod's: children that outlived their parent. */
const strays = async ({ netns, containerd }: TestNode): Promise<readonly string[]> => {
  const found: string[] = []
  const { ino } = await stat(netns.path)
  for (const pid of await processIds()) {
    if ((await readlink(`/proc/${pid}/ns/net`).catch(() => '')) !== `net:[${ino}]`) continue
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
    if (!/^PPid:\s*1$/m.test(status) || /^State:\s*Z/m.test(status)) continue
    const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim()
    if (!command.includes(`-address ${containerd.socket}`)) found.push(command)
  }
  return found
}

/**
 * The sandboxes for which containerd has started a shim that still runs. Without those that containerd itself has given up: when a
 * caller dies while its sandbox is being made, 1.6 cleans up behind the shim ("shim disconnected") and leaves its process, which holds
 * nothing: no container, no child, no mount.
 */
const shims = async ({ containerd }: TestNode): Promise<readonly string[]> => {
  const found = new Map<number, string>()
  const parents = new Set<number>()
  for (const pid of await processIds()) {
    const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
    parents.add(Number(/^PPid:\s*(\d+)$/m.exec(status)?.[1] ?? 0))
    if (argv.includes('-address') && argv.includes(containerd.socket))
      found.set(pid, argv[argv.indexOf('-id') + 1] ?? String(pid))
  }
  const log = await containerd.log()
  const givenUp = (id: string) => log.includes(`msg="cleaning up after shim disconnected" id=${id} `)
  return [...found].filter(([pid, id]) => parents.has(pid) || !givenUp(id)).map(([, id]) => id)
}

const sorted = (list: readonly string[]) => [...list].sort()

/** Everything there is now. */
export const holdingsOf = async (node: TestNode): Promise<Holdings> => {
  const { containerd, dir, rootDir, podLogs, netns } = node
  const [sandboxes, containers] = await Promise.all([containerd.cri.listPodSandbox(), containerd.cri.listContainers()])
  const links = JSON.parse((await netns.run(['ip', '-j', 'link', 'show'])).stdout) as { ifname: string; master?: string }[]
  const linksFolder = join(dirname(podLogs), 'containers')
  const logLinks = await Promise.all(
    (await names(linksFolder)).map(async name => {
      const target = await readlink(join(linksFolder, name))
      const leads = await readFile(target).then(
        () => true,
        () => false,
      )
      return leads ? basename(dirname(dirname(target))) : `dead link ${name}`
    }),
  )
  const kubeletMounts = await mountPoints(rootDir)
  return {
    sandboxes: sorted(sandboxes.filter(isUp).map(it => it.labels[uidLabel] ?? it.id)),
    // One that ended stays as long as the last dead attempt of a container is in it: `logs -p` shows that.
    'ended sandboxes without containers': sorted(
      sandboxes.filter(it => !isUp(it) && !containers.some(({ podSandboxId }) => podSandboxId === it.id)).map(it => it.id),
    ),
    'running containers': sorted(
      containers.filter(it => it.state === 'CONTAINER_RUNNING').map(it => `${it.labels[uidLabel]} ${it.metadata.name}`),
    ),
    'owners of containers': sorted([...new Set(containers.map(it => it.labels[uidLabel] ?? it.id))]),
    addresses: sorted(
      (await names(`${dir}/state/cni/nodelet`)).filter(name => !name.startsWith('last_') && name !== 'network.json'),
    ),
    interfaces: sorted(
      links.filter(it => /^nl[pb]/.test(it.ifname)).map(it => `${it.ifname}${it.master ? ` on ${it.master}` : ''}`),
    ),
    namespaces: [String((await names(`${containerd.dir}/state/io.containerd.grpc.v1.cri/netns`)).length)],
    'pods with mounts': sorted([...new Set(kubeletMounts.map(path => path.slice(rootDir.length).split('/')[2] ?? path))]),
    'sandboxes with mounts': [
      String(new Set((await mountPoints(`${containerd.dir}/state`)).map(path => basename(dirname(path)))).size),
    ],
    cgroups: sorted(await podCgroups(containerd.cgroupParent)),
    'pod folders': sorted(await names(join(rootDir, 'pods'))),
    'log folders': sorted((await names(podLogs)).map(name => name.split('_')[2] ?? name)),
    'links to logs': sorted([...new Set(logLinks.map(it => it.split('_')[2] ?? it))]),
    shims: sorted(await shims(node)),
    'stray processes': await strays(node),
  }
}

/** What there should be when exactly these pods run, each with its containers all running and its init containers done. */
export const expectedOf = async (node: TestNode, pods: readonly Pod[]): Promise<Holdings> => {
  const sandboxes = (await node.containerd.cri.listPodSandbox()).filter(isUp)
  const uids = sorted(pods.map(uidOf))
  const addresses = pods.flatMap(pod => (pod.status?.podIPs ?? []).map(({ ip }) => ip)).filter(ip => isIP(ip) !== 0)
  const interfaces = pods.flatMap(pod => {
    const sandbox = sandboxes.find(it => it.labels[uidLabel] === uidOf(pod))
    const link = hostLinkOf({ containerId: sandbox?.id ?? '', ifname: 'eth0' })
    const isShaped = pod.metadata.annotations?.['kubernetes.io/egress-bandwidth'] !== undefined
    return [`${link} on nodelet0`, ...(isShaped ? [shaperOf(link)] : [])]
  })
  const withMounts = pods.filter(pod => (pod.spec.volumes ?? []).some(it => it.emptyDir?.medium === 'Memory'))
  const containerCount = pods.flatMap(pod => pod.spec.containers).length
  return {
    sandboxes: uids,
    'ended sandboxes without containers': [],
    'running containers': sorted(pods.flatMap(pod => pod.spec.containers.map(it => `${uidOf(pod)} ${it.name}`))),
    'owners of containers': uids,
    addresses: sorted(addresses),
    interfaces: sorted(interfaces),
    namespaces: [String(pods.length)],
    'pods with mounts': sorted(withMounts.map(uidOf)),
    // One root file system for the sandbox and for each container, and the sandbox's /dev/shm.
    'sandboxes with mounts': [String(pods.length + containerCount + 1)],
    cgroups: uids,
    'pod folders': uids,
    'log folders': uids,
    'links to logs': uids,
    shims: sorted(sandboxes.filter(it => uids.includes(it.labels[uidLabel] ?? '')).map(it => it.id)),
    'stray processes': [],
  }
}
