// What tests can leave behind on a machine, found by looking: processes, network namespaces, mounts, cgroups, nft tables.
// test/run.ts compares before and after each file; the rest is how one of each kind is taken away.
import { readdir, readFile, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { systemExec } from '../../host/exec.ts'
import { runVariable, testPrefix } from './names.ts'
import { removeNetns } from './netns.ts'
import { endProcess, processIds } from './processes.ts'

const kinds = ['process', 'netns', 'mount', 'cgroup', 'nft table'] as const
type Kind = (typeof kinds)[number]

/** One thing on the machine, such as `netns nlt-12ab34cd`. */
export interface Trace {
  readonly kind: Kind
  readonly name: string
}

const isOurs = (name: string) => name.startsWith(testPrefix) || name.startsWith('cni-')

/** Processes that inherited the run's token, but not this one. */
const processes = async (run: string): Promise<readonly Trace[]> => {
  const found: Trace[] = []
  for (const pid of await processIds()) {
    if (pid === process.pid) continue
    const environ = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
    if (environ.split('\0').includes(`${runVariable}=${run}`)) found.push({ kind: 'process', name: String(pid) })
  }
  return found
}

const mountsOf = async (): Promise<readonly string[]> => {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  return lines.map(line => (line.split(' ')[4] ?? '').replaceAll('\\040', ' '))
}

/** The roots of the cgroup hierarchies that are mounted here: one per controller in version 1, one in version 2. */
const cgroupRoots = async (): Promise<readonly string[]> => {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  return lines.filter(line => / - cgroup2? /.test(line)).map(line => line.split(' ')[4] ?? '')
}

const namesIn = async (dir: string) => (await readdir(dir).catch(() => [])).filter(isOurs)

const nftTables = async (): Promise<readonly string[]> => {
  const { exitCode, stdout } = await systemExec.try(['nft', 'list', 'tables']).catch(() => ({ exitCode: 1, stdout: '' }))
  return exitCode === 0 ? stdout.split('\n').filter(line => line !== '') : []
}

/** Everything of a test's making that is on the machine now. Without root only processes are looked at. */
export const findTraces = async (run: string): Promise<readonly Trace[]> => {
  const found = [...(await processes(run))]
  if (process.getuid?.() !== 0) return found
  const add = (kind: Kind, names: readonly string[]) => found.push(...names.map(name => ({ kind, name })))
  add('netns', await namesIn('/run/netns'))
  add(
    'mount',
    (await mountsOf()).filter(path => path.includes(`/${testPrefix}`)),
  )
  add('cgroup', [...new Set((await Promise.all((await cgroupRoots()).map(namesIn))).flat())])
  add('nft table', await nftTables())
  return found
}

const toKey = ({ kind, name }: Trace) => `${kind} ${name}`

/** What is there now and was not before. */
export const newTraces = (before: readonly Trace[], now: readonly Trace[]): readonly Trace[] => {
  const known = new Set(before.map(toKey))
  // Everything of a network namespace is a mount too: told once is enough.
  return now.filter(it => !known.has(toKey(it)) && !(it.kind === 'mount' && it.name.startsWith('/run/netns/')))
}

/** Unmounts all that is mounted below a folder, deepest first. */
export const unmountBelow = async (dir: string): Promise<void> => {
  const below = (await mountsOf()).filter(path => path === dir || path.startsWith(`${dir}/`))
  for (const path of below.sort((a, b) => b.length - a.length)) await systemExec.try(['umount', '--lazy', path])
}

const cgroupsBelow = async (dir: string): Promise<readonly string[]> => {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => [])
  const inner = await Promise.all(entries.filter(it => it.isDirectory()).map(it => cgroupsBelow(join(dir, it.name))))
  return [...inner.flat(), dir]
}

/** Ends what runs in the cgroup of this name, in every hierarchy, and removes it with all below. */
export const removeCgroups = async (name: string): Promise<void> => {
  const dirs = (await Promise.all((await cgroupRoots()).map(root => cgroupsBelow(join(root, name))))).flat()
  for (const dir of dirs) {
    const pids = (await readFile(join(dir, 'cgroup.procs'), 'utf8').catch(() => '')).split('\n').filter(Boolean)
    for (const pid of pids) endProcess(Number(pid))
  }
  for (const dir of dirs) {
    // A killed process leaves its cgroup a moment later.
    for (let attempt = 0; attempt < 50; attempt++) {
      const error = await rmdir(dir).then(
        () => undefined,
        (failure: NodeJS.ErrnoException) => failure.code,
      )
      if (error !== 'EBUSY') break
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  }
}

const removers: Readonly<Record<Kind, (name: string) => Promise<unknown>>> = {
  process: async pid => endProcess(Number(pid)),
  netns: removeNetns,
  mount: unmountBelow,
  cgroup: removeCgroups,
  'nft table': name => systemExec.run(['nft', 'delete', ...name.split(' ')]),
}

/** Takes away what a test left, processes first. What cannot be removed is reported by the next look. */
export const removeTraces = async (traces: readonly Trace[]): Promise<void> => {
  for (const kind of kinds) {
    for (const { name } of traces.filter(it => it.kind === kind)) await removers[kind](name).catch(() => undefined)
  }
}
