// What of an installation is still on the machine: reads, and changes nothing. Says each thing as a person would look for it.
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Exec } from '../host/exec.ts'
import { places } from './places.ts'

/** Routes to other nodes carry it; see docs/cluster.md. */
const routeProtocol = '78'

export interface Kept {
  /** Configuration and state stay. */
  readonly data: boolean
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

const filesOf = ({ data }: Kept): readonly string[] => [
  ...[places.unit, places.enabled, places.modules, places.sysctls, places.logind, places.program, '/run/nodelet'],
  ...['/opt/cni/bin/nodelet', '/usr/lib/cni/nodelet', '/etc/cni/net.d/10-nodelet.conflist'],
  ...(data ? [] : [places.folder, places.stateDir, places.defaults]),
]

const lines = (text: string): readonly string[] => text.split('\n').filter(line => line.trim() !== '')

/** Mounts below a folder, from the text of /proc/self/mountinfo. */
export const mountsBelow = (mountinfo: string, folder: string): readonly string[] =>
  lines(mountinfo)
    .map(line => line.split(' ')[4] ?? '')
    .filter(point => point.startsWith(`${folder}/`))

const podCgroups = async (): Promise<readonly string[]> => {
  const roots = ['/sys/fs/cgroup', '/sys/fs/cgroup/memory', '/sys/fs/cgroup/cpu']
  const found = await Promise.all(
    roots.map(async root =>
      (await readdir(root).catch(() => [])).filter(it => it.startsWith('kubepods')).map(it => join(root, it)),
    ),
  )
  return found.flat()
}

/** One line for each thing that is left. */
export const findLeftovers = async (exec: Pick<Exec, 'try'>, kept: Kept): Promise<readonly string[]> => {
  const ask = async (...argv: readonly string[]) => lines((await exec.try(argv).catch(() => ({ stdout: '' }))).stdout)
  const files = filesOf(kept)
  const there = await Promise.all(files.map(isThere))
  const [tables, links, routes, units, mountinfo, cgroups] = await Promise.all([
    ask('nft', 'list', 'tables'),
    ask('ip', '-brief', 'link', 'show', 'type', 'bridge'),
    ask('ip', 'route', 'show', 'table', 'all', 'proto', routeProtocol),
    ask('systemctl', 'list-units', '--all', '--plain', '--no-legend', 'nodelet*', 'kubepods*'),
    readFile('/proc/self/mountinfo', 'utf8'),
    podCgroups(),
  ])
  return [
    ...files.filter((_, index) => there[index]).map(path => `file ${path}`),
    ...tables.filter(line => / nodelet-/.test(line)).map(line => `nftables ${line}`),
    ...links.filter(line => line.startsWith('nodelet0 ')).map(() => 'interface nodelet0'),
    ...routes.map(route => `route ${route}`),
    // one that another unit only names is none
    ...units.filter(line => !/ not-found /.test(line)).map(line => `unit ${line.split(' ')[0]}`),
    ...mountsBelow(mountinfo, `${places.rootDir}/pods`).map(point => `mount ${point}`),
    ...cgroups.map(path => `cgroup ${path}`),
  ]
}
