// One node with three pods on a bridge and another host on its uplink, each a network namespace of its own, as the proxy's contract
// describes them. The other host also plays an endpoint on another node. Nobody has a way out of these five namespaces.
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect as connectSocket, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { systemExec, type Watched } from '../../host/exec.ts'
import { type Attempt, addresses, type Outcome, type Sender, targetPort } from '../../proxy/backend.contract.ts'
import { connect, createNetns, type Netns } from './netns.ts'
import type { PeerAnswer, PeerRequest } from './peer.ts'
import { patience, waitFor } from './wait.ts'

export interface Peer {
  /** What came back: `NAME ADDRESS`, an error's code, or `timeout`. */
  ask(attempt: Omit<Attempt, 'from'>, options?: { fromPort?: number; timeoutMs?: number }): Promise<string>
  close(): void
}

export interface ServiceWorld {
  readonly node: Netns
  /** Where peers are, for programs of another kind. */
  readonly hosts: Readonly<Record<'pod' | 'a' | 'b' | 'outside', Netns>>
  readonly peers: Readonly<Record<Sender | 'b', Peer>>
  /** One attempt, as the contract words its outcome. */
  send(attempt: Attempt, options?: { timeoutMs?: number }): Promise<Outcome>
  remove(): Promise<void>
}

const program = join(import.meta.dirname, 'peer.ts')
// Less than the second after which TCP sends its first packet again: one that was lost is to be noticed.
const answerMs = Math.min(400 * patience, 900)
const { IPv4: v4, IPv6: v6 } = addresses
const bridge = { IPv4: '10.244.1.1', IPv6: 'fd00:244:1::1' }
const nodeAddresses = [v4.node, v6.node, bridge.IPv4, bridge.IPv6]

const startPeer = async (netns: Netns, name: string, folder: string): Promise<Peer> => {
  const control = join(folder, name)
  let ready = false
  const watched: Watched = netns.exec.watch([process.execPath, program, name, control, String(targetPort)], line => {
    ready ||= line === 'ready'
  })
  watched.ended.catch(() => undefined)
  await waitFor(`peer ${name}`, () => ready)
  const socket: Socket = connectSocket(control)
  const waiting = new Map<number, (answer: string) => void>()
  createInterface({ input: socket }).on('line', line => {
    const { id, answer } = JSON.parse(line) as PeerAnswer
    waiting.get(id)?.(answer)
    waiting.delete(id)
  })
  let last = 0
  return {
    ask: ({ to, port, protocol = 'TCP' }, { fromPort = 0, timeoutMs = answerMs } = {}) =>
      new Promise(resolve => {
        last += 1
        waiting.set(last, resolve)
        const request: PeerRequest = { id: last, protocol: protocol as 'TCP', to, port, fromPort, timeoutMs }
        socket.write(`${JSON.stringify(request)}\n`)
      }),
    close: () => {
      socket.destroy()
      watched.stop()
    },
  }
}

const addPod = async (node: Netns, pod: Netns, device: string, address: string, address6: string) => {
  await connect({ netns: node, device }, { netns: pod, device: 'eth0', addresses: [`${address}/24`, `${address6}/64`] })
  await node.run(['ip', 'link', 'set', device, 'master', 'nodelet0'])
  await node.run(['bridge', 'link', 'set', 'dev', device, 'hairpin', 'on'])
  await pod.run(['ip', 'route', 'add', 'default', 'via', bridge.IPv4])
  await pod.run(['ip', '-6', 'route', 'add', 'default', 'via', bridge.IPv6])
}

const setUpNode = async (node: Netns) => {
  // the daemon does so for its own network; what the proxy gets here is a namespace that is ready
  if (!existsSync('/proc/sys/net/bridge')) await systemExec.run(['modprobe', 'br_netfilter'])
  await node.run(['ip', 'link', 'add', 'nodelet0', 'type', 'bridge'])
  await node.run(['ip', 'addr', 'add', `${bridge.IPv4}/24`, 'dev', 'nodelet0'])
  await node.run(['ip', 'addr', 'add', `${bridge.IPv6}/64`, 'dev', 'nodelet0', 'nodad'])
  await node.run(['ip', 'link', 'set', 'nodelet0', 'up'])
  await node.sysctl('net/ipv4/ip_forward', 1)
  await node.sysctl('net/ipv6/conf/all/forwarding', 1)
  await node.sysctl('net/bridge/bridge-nf-call-iptables', 1)
  await node.sysctl('net/bridge/bridge-nf-call-ip6tables', 1)
}

const setUpOutside = async (node: Netns, outside: Netns) => {
  await outside.sysctl('net/ipv4/ip_forward', 0)
  await outside.sysctl('net/ipv6/conf/all/forwarding', 0)
  await connect(
    { netns: node, device: 'eth0', addresses: [`${v4.node}/24`, `${v6.node}/64`] },
    { netns: outside, device: 'eth0', addresses: [`${v4.outside}/24`, `${v6.outside}/64`] },
  )
  await outside.run(['ip', 'addr', 'add', `${v4.endpoints.remote}/32`, 'dev', 'lo'])
  await outside.run(['ip', 'addr', 'add', `${v6.endpoints.remote}/128`, 'dev', 'lo', 'nodad'])
  for (const to of ['10.244.1.0/24', '10.96.0.0/12', '203.0.113.0/24'])
    await outside.run(['ip', 'route', 'add', to, 'via', v4.node])
  for (const to of ['fd00:244:1::/64', 'fd00:96::/64', 'fd00:113::/64'])
    await outside.run(['ip', '-6', 'route', 'add', to, 'via', v6.node])
  // A cluster IP must have some route before it can be translated; the other host drops what comes to it untranslated.
  await node.run(['ip', 'route', 'add', 'default', 'via', v4.outside])
  await node.run(['ip', '-6', 'route', 'add', 'default', 'via', v6.outside])
}

const toOutcome = (answer: string, sender: Sender): Outcome => {
  if (answer === 'ECONNREFUSED') return 'refused'
  // Unreachable is what a packet gets that nothing routes: nobody answered.
  if (answer === 'timeout' || answer === 'EHOSTUNREACH' || answer === 'ENETUNREACH') return 'dropped'
  const [name = '', seen = ''] = answer.split(' ')
  const reached = name === 'outside' ? 'remote' : name
  if (reached !== 'a' && reached !== 'b' && reached !== 'remote') throw new Error(`unexpected answer: ${answer}`)
  const clients = [v4, v6].map(
    family => ({ pod: family.pod, a: family.endpoints.a, outside: family.outside, node: family.node })[sender],
  )
  if (sender !== 'node' && clients.includes(seen)) return { reached, sees: 'client' }
  if (nodeAddresses.includes(seen)) return { reached, sees: 'node' }
  throw new Error(`${name} saw ${seen}, which is neither the client nor the node`)
}

/** Builds the world; takes about a second. */
export const createServiceWorld = async (): Promise<ServiceWorld> => {
  const folder = await mkdtemp(join(tmpdir(), 'nlt-world-'))
  const made: Netns[] = []
  const peers: Peer[] = []
  const remove = async () => {
    for (const peer of peers) peer.close()
    for (const netns of made) await netns.remove()
    await rm(folder, { recursive: true, force: true })
  }
  const host = async () => {
    const netns = await createNetns()
    made.push(netns)
    return netns
  }
  const peer = async (netns: Netns, name: string) => {
    const one = await startPeer(netns, name, folder)
    peers.push(one)
    return one
  }
  try {
    const [node, outside, pod, a, b] = [await host(), await host(), await host(), await host(), await host()]
    await setUpNode(node)
    await setUpOutside(node, outside)
    await addPod(node, pod, 'veth-pod', v4.pod, v6.pod)
    await addPod(node, a, 'veth-a', v4.endpoints.a, v6.endpoints.a)
    await addPod(node, b, 'veth-b', v4.endpoints.b, v6.endpoints.b)
    const started = await Promise.all([
      peer(pod, 'pod'),
      peer(a, 'a'),
      peer(b, 'b'),
      peer(node, 'node'),
      peer(outside, 'outside'),
    ])
    const byName = { pod: started[0], a: started[1], b: started[2], node: started[3], outside: started[4] }
    return {
      node,
      hosts: { pod, a, b, outside },
      peers: byName,
      send: async (attempt, options) => toOutcome(await byName[attempt.from].ask(attempt, options), attempt.from),
      remove,
    }
  } catch (error) {
    await remove()
    throw error
  }
}
