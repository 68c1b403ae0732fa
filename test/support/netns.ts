// Network namespaces as hosts of a test: made empty, with loopback up and no way out, and removed with all that runs in them.
// Programs that stay are started with nsenter: `ip netns exec` remounts /sys, which hides the cgroups from a container runtime.
import { readlink, stat } from 'node:fs/promises'
import { type Exec, type RunOptions, type RunResult, systemExec } from '../../host/exec.ts'
import { uniqueName } from './names.ts'
import { endProcess, processIds } from './processes.ts'
import { waitFor } from './wait.ts'

export interface Netns {
  readonly name: string
  /** /run/netns/NAME */
  readonly path: string
  /** Starts its programs in the namespace; for parts that take an Exec. */
  readonly exec: Exec
  /** Runs a program in the namespace to its end, as Exec.run does. */
  run(argv: readonly string[], options?: RunOptions): Promise<RunResult>
  /** The argv that starts a program in the namespace. */
  wrap(argv: readonly string[]): string[]
  /** One network sysctl of the namespace, such as net/ipv4/ip_forward. */
  sysctl(key: string, value: string | number): Promise<void>
  /** Ends what runs in the namespace and takes it away; may be called again. */
  remove(): Promise<void>
}

/** Pids of the processes that are in the namespace at `path`. */
const processesIn = async (path: string): Promise<readonly number[]> => {
  const inode = (await stat(path)).ino
  const pids = await processIds()
  const links = await Promise.all(pids.map(pid => readlink(`/proc/${pid}/ns/net`).catch(() => '')))
  return pids.filter((_, index) => links[index] === `net:[${inode}]`)
}

const endProcesses = async (path: string) => {
  await waitFor(`the processes in ${path} to end`, async () => {
    const pids = await processesIn(path)
    for (const pid of pids) endProcess(pid)
    return pids.length === 0
  })
}

/** Removes the network namespace of this name, if it is there, and everything that runs in it. */
export const removeNetns = async (name: string): Promise<void> => {
  const path = `/run/netns/${name}`
  if (await stat(path).catch(() => undefined)) {
    // A namespace whose mount is gone leaves an ordinary file behind.
    await endProcesses(path).catch(() => undefined)
    await systemExec.run(['ip', 'netns', 'del', name])
  }
}

/** Starts everything in the network namespace at `path`, but for what is to be in another. */
export const execIn = (path: string): Exec => ({
  run: (argv, options) => systemExec.run(argv, { netns: path, ...options }),
  try: (argv, options) => systemExec.try(argv, { netns: path, ...options }),
  watch: (argv, onLine) => systemExec.watch(wrapIn(path, argv), onLine),
})

/** The argv that starts a program in a namespace, for those that stay. */
const wrapIn = (path: string, argv: readonly string[]): string[] => ['nsenter', `--net=${path}`, ...argv]

/** A new network namespace with nothing but loopback. @param name of one that was removed, to make it again */
export const createNetns = async (name = uniqueName()): Promise<Netns> => {
  const path = `/run/netns/${name}`
  await systemExec.run(['ip', 'netns', 'add', name])
  const exec = execIn(path)
  const wrap = (argv: readonly string[]) => wrapIn(path, argv)
  const sysctl = async (key: string, value: string | number) => {
    // /proc/sys/net shows the namespace of the process that opens it.
    await exec.run(['dd', `of=/proc/sys/${key}`, 'status=none'], { input: `${value}\n` })
  }
  await exec.run(['ip', 'link', 'set', 'lo', 'up'])
  return { name, path, exec, run: exec.run, wrap, sysctl, remove: () => removeNetns(name) }
}

export interface CableEnd {
  readonly netns: Netns
  readonly device: string
  /** With prefix length: 10.0.0.1/24. IPv6 addresses are usable at once (no duplicate detection). */
  readonly addresses?: readonly string[]
}

/** A veth pair between two namespaces, both ends up. */
export const connect = async (left: CableEnd, right: CableEnd): Promise<void> => {
  const link = ['ip', 'link', 'add', left.device, 'netns', left.netns.name, 'type', 'veth']
  await systemExec.run([...link, 'peer', 'name', right.device, 'netns', right.netns.name])
  for (const { netns, device, addresses = [] } of [left, right]) {
    for (const address of addresses) {
      await netns.run(['ip', 'addr', 'add', address, 'dev', device, ...(address.includes(':') ? ['nodad'] : [])])
    }
    await netns.run(['ip', 'link', 'set', device, 'up'])
  }
}
