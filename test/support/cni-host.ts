// A host for the network plugin, made of network namespaces: one that stands for the node, one for a machine outside, one per pod.
// The plugin runs in the test's own process; every program that it starts is started inside the node's namespace instead.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CniDeps } from '../../cni/networks.ts'
import { type Cni, createCni } from '../../cni/plugin.ts'
import { systemClock } from '../../host/clock.ts'
import { type Exec, systemExec, type Watched } from '../../host/exec.ts'
import { createLink } from '../../host/link.ts'
import { silentLog } from '../../host/log.ts'
import { createNft } from '../../host/nft.ts'
import { uniqueName } from './names.ts'
import { execIn } from './netns.ts'

/** As `execIn`, by the namespace's name. */
export const execInside = (name: string): Exec => execIn(`/run/netns/${name}`)

/** The parts of the plugin for a node that is a namespace. */
export const depsInside = (netns: string, bootId = 'this-boot'): CniDeps => {
  const exec = execInside(netns)
  return {
    exec,
    link: createLink(exec, async () => (await exec.run(['cat', '/proc/self/net/dev'])).stdout),
    nft: createNft(exec),
    sysctl: {
      read: async path => (await exec.run(['cat', `/proc/sys/${path}`])).stdout.trim(),
      write: async (path, value) => void (await exec.run(['tee', `/proc/sys/${path}`], { input: value })),
    },
    clock: systemClock,
    log: silentLog,
    bootId,
    lockWaitSeconds: 5,
  }
}

export interface Pod {
  readonly id: string
  readonly netns: string
  readonly addresses: readonly string[]
}

export interface CallOptions {
  readonly verb?: string
  readonly conf?: Record<string, unknown>
}

export const peerProgram = join(import.meta.dirname, 'cni-peer.ts')

const macs = ['02:00:00:00:00:01', '02:00:00:00:00:02'] as const

// Neighbours are given: an uplink that has just come up answers no solicitation for a second, which is not what is tried here.
const uplink = (own: 1 | 2): readonly string[] => [
  `addr add 192.0.2.${own}/24 dev up0`,
  `addr add 2001:db8:9::${own}/64 dev up0 nodad`,
  'link set dev up0 up',
  `neigh replace 2001:db8:9::${3 - own} lladdr ${macs[2 - own]} nud permanent dev up0`,
]

/** The node and the outside machine, connected by 192.0.2.0/24 and 2001:db8:9::/64; the node is .1, the machine .2. */
export const createCniHost = async (network: Record<string, unknown>) => {
  const name = uniqueName()
  const outside = `${name}-out`
  const namespaces: string[] = []
  const listeners: Watched[] = []
  const dir = await mkdtemp(join(tmpdir(), 'nodelet-cni-'))
  const dataDir = join(dir, 'data')
  const addNamespace = async (netns: string) => {
    await systemExec.run(['ip', 'netns', 'add', netns])
    namespaces.push(netns)
  }
  await addNamespace(name)
  await addNamespace(outside)
  const host = execInside(name)
  await createLink(host).batch([
    'link set dev lo up',
    `link add up0 address ${macs[0]} type veth peer name up0 address ${macs[1]} netns /run/netns/${outside}`,
    ...uplink(1),
  ])
  await createLink(execInside(outside)).batch(['link set dev lo up', ...uplink(2)])
  const conf = { cniVersion: '1.0.0', name: 'test', type: 'nodelet', dataDir, ...network }
  const state = { cni: createCni(depsInside(name), dataDir) as Cni, pods: 0 }

  const call = (pod: Pick<Pod, 'id' | 'netns'>, { verb = 'ADD', conf: more = {} }: CallOptions = {}) =>
    state.cni.call({
      env: {
        ...{ CNI_COMMAND: verb, CNI_CONTAINERID: pod.id, CNI_NETNS: pod.netns && `/run/netns/${pod.netns}`, CNI_IFNAME: 'eth0' },
        ...{ CNI_PATH: '/none', CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod.id}` },
      },
      stdin: JSON.stringify({ ...conf, ...more }),
    })
  const newPod = async (): Promise<Pod> => {
    state.pods += 1
    const pod = { id: `pod-${state.pods}`, netns: `${name}-${state.pods}`, addresses: [] }
    await addNamespace(pod.netns)
    return pod
  }
  const addPod = async (more: Record<string, unknown> = {}): Promise<Pod> => {
    const pod = await newPod()
    const reply = await call(pod, { conf: more })
    if (reply.exitCode !== 0) throw new Error(reply.stdout)
    const result = JSON.parse(reply.stdout) as { ips: { address: string }[] }
    return { ...pod, addresses: result.ips.map(ip => ip.address.split('/')[0] ?? '') }
  }
  return {
    name,
    outside,
    host,
    dir,
    dataDir,
    conf,
    call,
    newPod,
    addPod,
    cni: () => state.cni,
    /** The plugin anew, as after a restart of the daemon; with another boot id, as after a reboot. */
    restart: async (bootId?: string) => {
      await state.cni.close()
      state.cni = createCni(depsInside(name, bootId), dataDir)
      return state.cni
    },
    /** Answers on a port inside a namespace, from when the promise resolves. */
    listen: (netns: string, port: number) =>
      new Promise<void>((resolve, reject) => {
        const watched = execInside(netns).watch([process.execPath, peerProgram, 'listen', String(port)], () => resolve())
        listeners.push(watched)
        watched.ended.then(({ stderr }) => reject(new Error(stderr)), reject)
      }),
    /** Whom the other side saw, or nothing when nobody answered. */
    ask: async (netns: string, protocol: 'tcp' | 'udp', address: string, port: number): Promise<string | undefined> => {
      const answer = await execInside(netns).try([process.execPath, peerProgram, 'ask', protocol, address, String(port)])
      return answer.exitCode === 0 ? answer.stdout.trim() : undefined
    },
    /** The names of all interfaces of the node that are neither its own nor the bridge. */
    podLinks: async (): Promise<readonly string[]> => {
      const links = await createLink(host).query<{ ifname: string }>(['link', 'show'])
      return links.map(link => link.ifname).filter(ifname => /^nl[pb]/.test(ifname))
    },
    end: async () => {
      for (const listener of listeners) listener.stop()
      await state.cni.close()
      for (const netns of namespaces) await systemExec.try(['ip', 'netns', 'del', netns])
      await rm(dir, { recursive: true, force: true })
    },
  }
}

export type CniHost = Awaited<ReturnType<typeof createCniHost>>
