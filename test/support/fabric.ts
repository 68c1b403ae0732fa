// The network that the machines of a test's cluster stand in: one bridge in a namespace of its own, hosts as namespaces on it, no way
// out. What goes to the default route ends at the bridge's namespace, which forwards nothing.
import { connect, createNetns, type Netns, removeNetns } from './netns.ts'

const network = '10.91.0'
const bridge = 'br0'

/** A machine's end of a cable that leads to the fabric. */
export interface Card {
  readonly netns: Netns
  /** The tap device in `netns`. */
  readonly device: string
  readonly mac: string
}

export interface Fabric {
  /** An address on the fabric by its last number, 2 to 254. */
  address(host: number): string
  /** A new host. @param name of a namespace that was a host here, to make it again as after a reboot */
  host(number: number, name?: string): Promise<Netns>
  /** The cable of a machine that QEMU emulates, as its options; QEMU is to be started with `netns`. */
  card(number: number): Promise<Card>
  close(): Promise<void>
}

/** A fabric without hosts; hosts that are still there at its end go with it. */
export const createFabric = async (): Promise<Fabric> => {
  const fabric = await createNetns()
  const hosts = new Set<string>()
  await fabric.run(['ip', 'link', 'add', bridge, 'type', 'bridge'])
  await fabric.run(['ip', 'addr', 'add', `${network}.1/24`, 'dev', bridge])
  await fabric.run(['ip', 'link', 'set', bridge, 'up'])
  await fabric.sysctl('net/ipv4/ip_forward', 0)
  const address = (host: number) => `${network}.${host}`
  const macOf = (host: number) => `02:00:00:00:00:${host.toString(16).padStart(2, '0')}`
  return {
    address,
    host: async (number, name) => {
      const host = await createNetns(name)
      hosts.add(host.name)
      const port = `host${number}`
      // The port of a host that is gone may still be on its way out.
      await fabric.exec.try(['ip', 'link', 'del', port])
      await connect({ netns: host, device: 'eth0', addresses: [`${address(number)}/24`] }, { netns: fabric, device: port })
      await fabric.run(['ip', 'link', 'set', port, 'master', bridge])
      // A machine that boots again has the card that it had: the others may still know it.
      await host.run(['ip', 'link', 'set', 'eth0', 'address', macOf(number)])
      await host.run(['ip', 'route', 'add', 'default', 'via', address(1)])
      await host.sysctl('net/ipv4/ip_forward', 1)
      return host
    },
    card: async number => {
      const device = `host${number}`
      await fabric.run(['ip', 'tuntap', 'add', device, 'mode', 'tap'])
      await fabric.run(['ip', 'link', 'set', device, 'master', bridge, 'up'])
      return { netns: fabric, device, mac: macOf(number) }
    },
    close: async () => {
      for (const name of hosts) await removeNetns(name)
      await fabric.remove()
    },
  }
}
