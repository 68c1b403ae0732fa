// `nodelet uninstall`: the way back of `nodelet install`. Ends the service, lets the daemon's own cleanup take away what it made, removes
// what the installation wrote, and looks whether anything is left. Can be run again, and on a machine where only a part is there.
import { readFile, rename, rm, rmdir, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { describe, Fault } from '../host/fault.ts'
import { ownCommand } from '../host/own-program.ts'
import type { SetupDeps } from './doctor.ts'
import { originalOf } from './fixes.ts'
import { type UninstallOptions, uninstallOptions, usage } from './options.ts'
import { daemonFlags, places } from './places.ts'
import { findLeftovers } from './scan.ts'

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

const cleanupMs = 600_000

/** State that is to be kept is put aside: the daemon's cleanup takes all of it away. */
const aside = `${places.stateDir}.kept`

const stopService = async ({ exec, out }: SetupDeps): Promise<void> => {
  if (!(await isThere(places.unit))) return
  await exec.try(['systemctl', 'disable', '--quiet', 'nodelet.service'])
  await exec.run(['systemctl', 'stop', 'nodelet.service'], { timeoutMs: 60_000 })
  out('removed the service nodelet\n')
}

/** @returns whether all of it could be removed */
const cleanNode = async (keepData: boolean, { exec, out, err }: SetupDeps): Promise<boolean> => {
  const unit = await readFile(places.unit, 'utf8').catch(() => '')
  const flags = (await isThere(places.kubelet)) ? daemonFlags(unit.includes('--bootstrap-kubeconfig')) : []
  const { exitCode, stdout, stderr } = await exec.try([...ownCommand(), 'agent', '--cleanup', ...flags], { timeoutMs: cleanupMs })
  // State that is put aside comes back.
  const isSaid = (line: string) => line !== '' && !(keepData && line === `removed ${places.stateDir}`)
  out(
    stdout
      .split('\n')
      .filter(isSaid)
      .map(line => `${line}\n`)
      .join(''),
  )
  if (stderr !== '') err(`${stderr}\n`)
  return exitCode === 0
}

/** containerd as it was, where nobody else has changed its configuration meanwhile. */
const restoreContainerd = async ({ exec, out }: SetupDeps): Promise<void> => {
  const original = originalOf(places.containerdConfig)
  if (!(await isThere(original))) return
  const pods = await exec.try(['ctr', '--namespace', 'k8s.io', 'containers', 'list', '--quiet'])
  if (pods.stdout.trim() !== '') {
    out(`kept ${places.containerdConfig} as it is, for the containers that are there; as it was: ${original}\n`)
    return
  }
  const isEmpty = (await stat(original)).size === 0
  if (isEmpty) await Promise.all([rm(original), rm(places.containerdConfig)])
  else await rename(original, places.containerdConfig)
  await exec.try(['systemctl', 'try-restart', 'containerd'], { timeoutMs: 120_000 })
  out(`${isEmpty ? 'removed' : 'restored'} ${places.containerdConfig}\n`)
}

const filesOf = (keepData: boolean): readonly string[] => [
  ...[places.unit, places.modules, places.sysctls, places.logind],
  ...(keepData ? [] : [places.folder, places.stateDir, places.defaults, '/var/lib/kubelet/pki', '/var/lib/kubelet/nodelet']),
]

const removeFiles = async (keepData: boolean, { exec, out }: SetupDeps): Promise<void> => {
  for (const path of filesOf(keepData)) {
    if (!(await isThere(path))) continue
    await rm(path, { recursive: true, force: true })
    out(`removed ${path}\n`)
  }
  for (const folder of [dirname(places.logind), places.rootDir]) await rmdir(folder).catch(() => undefined)
  await exec.try(['systemctl', 'daemon-reload'])
  await exec.try(['systemctl', 'reset-failed', 'nodelet.service'])
  // Last: until here it could be run again. That of a package is the package's.
  if (await isThere(places.program)) {
    await unlink(places.program)
    out(`removed ${places.program}\n`)
  }
}

const uninstall = async ({ keepData }: UninstallOptions, deps: SetupDeps): Promise<number> => {
  const { exec, out, err } = deps
  if (process.getuid?.() !== 0) throw new Fault('unsupported', 'needs root: run it with sudo', { retry: 'never' })
  await stopService(deps)
  if (keepData && (await isThere(places.stateDir)) && !(await isThere(aside)))
    await exec.run(['cp', '--archive', places.stateDir, aside])
  const isClean = await cleanNode(keepData, deps)
  if (!isClean) {
    err('not everything could be removed, see above; correct it and run this again\n')
    return 1
  }
  if (keepData && (await isThere(aside))) {
    await rm(places.stateDir, { recursive: true, force: true })
    await rename(aside, places.stateDir)
  }
  await restoreContainerd(deps).catch(error => err(`${places.containerdConfig} is not as it was: ${describe(error)}\n`))
  await removeFiles(keepData, deps)
  const left = await findLeftovers(exec, { data: keepData })
  if (left.length === 0) {
    out('this machine is clean\n')
    return 0
  }
  err(`${left.map(it => `left: ${it}\n`).join('')}`)
  return 1
}

/** @returns the exit code */
export const runUninstall = async (argv: readonly string[], deps: SetupDeps): Promise<number> => {
  const options = uninstallOptions(argv)
  if (options === undefined) {
    deps.out(usage.uninstall)
    return 0
  }
  return uninstall(options, deps)
}
