// A benchmark in a network namespace of its own: the place outside of the nodes, with a cable to each, so that both sides can be
// asked and called in the same way. The namespace has no name and goes with the process.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { systemExec } from '../host/exec.ts'
import type { Netns } from '../test/support/netns.ts'

const marker = 'alone'

/** Runs `measure` in a namespace of its own; the file that calls this is started a second time. */
export const alone = async (measure: () => Promise<void>): Promise<void> => {
  const [program = '', file = '', word] = process.argv
  if (word === marker) {
    await systemExec.run(['ip', 'link', 'set', 'lo', 'up'])
    await measure()
    // connections that are kept to the nodes are no reason to stay
    process.exit()
  }
  const child = spawn('unshare', ['--net', program, file, marker], { stdio: 'inherit' })
  const [code] = (await once(child, 'exit')) as [number | null]
  process.exitCode = code ?? 1
}

/** A cable from here to a node: the node gets `address` of /24 and its default route; we are .254 of it. */
export const connectNode = async (netns: Netns, address: string): Promise<void> => {
  const outside = address.replace(/\d+$/, '254')
  const here = `link add ${netns.name} type veth peer name uplink0 netns ${netns.name}
addr add ${outside}/24 dev ${netns.name}
link set ${netns.name} up
`
  await systemExec.run(['ip', '-batch', '-'], { input: here })
  const there = `addr add ${address}/24 dev uplink0
link set uplink0 up
route add default via ${outside}
`
  await netns.run(['ip', '-batch', '-'], { input: there })
  await netns.sysctl('net/ipv4/ip_forward', 1)
}
