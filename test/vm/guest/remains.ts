// What stands on the machine that a node agent could have left there. Compared before and after, so that nothing has to be known
// about names.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemExec } from '../../../host/exec.ts'
import { processIds } from '../../support/processes.ts'

const linesOf = async (argv: readonly string[]) => (await systemExec.run(argv)).stdout.split('\n').filter(line => line !== '')

const entriesOf = async (folder: string) => (await readdir(folder).catch(() => [])).map(name => join(folder, name))

const mountPoints = async () => (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map(line => line.split(' ')[4] ?? '')

// systemd's own services come and go; pods are never below them.
const cgroups = async (dir = '/sys/fs/cgroup'): Promise<readonly string[]> => {
  const folders = (await readdir(dir, { withFileTypes: true }).catch(() => [])).filter(
    it => it.isDirectory() && it.name !== 'system.slice',
  )
  const below = await Promise.all(folders.map(it => cgroups(join(dir, it.name))))
  return [...folders.map(it => join(dir, it.name)), ...below.flat()]
}

/** Programs that run, kernel threads and systemd's helpers apart. */
const programs = async (): Promise<readonly string[]> => {
  const found = await Promise.all(
    (await processIds()).map(async pid => {
      const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim()
      return argv === '' || /systemd|udev/.test(argv) ? '' : argv
    }),
  )
  return found.filter(argv => argv !== '')
}

const folders = ['/etc/cni', '/etc/cni/net.d', '/opt', '/opt/cni', '/run', '/run/netns', '/tmp', '/var/lib', '/var/log']
const kernelSettings = ['net/ipv4/ip_forward', 'net/ipv4/conf/all/rp_filter', 'net/ipv4/conf/all/route_localnet']

export type Remains = ReadonlySet<string>

/** One line for each thing that is there. */
export const findRemains = async (): Promise<Remains> => {
  const kinds: Readonly<Record<string, readonly string[]>> = {
    mount: await mountPoints(),
    cgroup: await cgroups(),
    program: await programs(),
    interface: (await linesOf(['ip', '-o', 'link'])).map(line => line.split(': ')[1] ?? ''),
    route: await linesOf(['ip', 'route', 'show', 'table', 'all']),
    'nft table': await linesOf(['nft', 'list', 'tables']),
    file: (await Promise.all(folders.map(entriesOf))).flat(),
    setting: await Promise.all(kernelSettings.map(async key => `${key} ${await readFile(`/proc/sys/${key}`, 'utf8')}`)),
  }
  // `ip netns` makes this folder at its first use, mounts it, and never takes it away; systemd's have random names.
  const others = /^(file|mount) (\/run\/netns$|\/tmp\/systemd-private-)/
  return new Set(
    Object.entries(kinds)
      .flatMap(([kind, names]) => names.map(name => `${kind} ${name.trim()}`))
      .filter(it => !others.test(it)),
  )
}

/** What is there now and was not before. */
export const newSince = async (before: Remains): Promise<readonly string[]> => [...(await findRemains()).difference(before)]
