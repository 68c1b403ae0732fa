// `nodelet install`: checks the machine, then makes it a node, and waits until it is well. Asks nothing. Every step can be done twice, so
// an installation that was interrupted is finished by running it again; what is wrong is said before anything is changed.
import { chmod, copyFile, mkdir, readlink, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isSea } from 'node:sea'
import { createDaemon } from '../cli/socket.ts'
import { describe, Fault } from '../host/fault.ts'
import { examine, obstacles } from './checks.ts'
import { applyFixes, type SetupDeps, toText } from './doctor.ts'
import { putFile } from './fixes.ts'
import { type Joining, prepareJoin } from './join.ts'
import { lookAtHost } from './look.ts'
import { type InstallOptions, installOptions, usage } from './options.ts'
import { defaultsText, kubeletConfigText, nodeletConfigText, places, unitText } from './places.ts'

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

/** The administrator's own from the moment that it is there. */
const putOnce = async (path: string, content: string, mode?: number): Promise<void> => {
  if (!(await isThere(path))) await putFile(path, content, mode)
}

/** Where programs are that a package or an earlier installation has put there. */
const isInPlace = (program: string): boolean => /^\/usr\/(local\/)?s?bin\/nodelet$/.test(program)

/** The program at its place; a daemon that runs keeps the file that it was started from. */
const placeProgram = async (): Promise<string> => {
  const own = process.execPath
  if (isInPlace(own)) return own
  const aside = `${places.program}.new`
  try {
    await mkdir(dirname(places.program), { recursive: true })
    await copyFile(own, aside)
    await chmod(aside, 0o755)
    await rename(aside, places.program)
  } catch (cause) {
    await rm(aside, { force: true })
    throw new Fault('io', `${places.program} could not be written`, { cause, retry: 'never' })
  }
  return places.program
}

const writeFiles = async (program: string, options: InstallOptions, joining: Joining | undefined): Promise<void> => {
  await mkdir(places.manifests, { recursive: true, mode: 0o755 })
  if (joining !== undefined) {
    // New credentials count only until the node has some of its own.
    await putFile(places.bootstrap, joining.bootstrapKubeconfig, 0o600)
    if (joining.ca !== undefined) await putFile(places.clusterCa, joining.ca)
  }
  await putOnce(places.kubelet, kubeletConfigText(joining?.settings))
  await putOnce(places.nodelet, nodeletConfigText)
  await putOnce(places.defaults, defaultsText(options))
  await putFile(places.unit, unitText(program, joining !== undefined))
}

/** The package enables the unit that kubeadm starts; a node that is installed this way has another. */
const startService = async ({ exec }: SetupDeps): Promise<void> => {
  if ((await readlink('/usr/bin/kubelet').catch(() => '')) === 'nodelet')
    await exec.try(['systemctl', 'disable', '--quiet', '--now', 'kubelet.service', 'nodelet-reset.path'])
  await exec.run(['systemctl', 'daemon-reload'])
  await exec.run(['systemctl', 'enable', '--quiet', 'nodelet.service'])
  // Without waiting: what the service waits for is said by `isWell`.
  await exec.run(['systemctl', 'restart', '--no-block', 'nodelet.service'])
}

interface Node {
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[]
  }
}

/** Why the node is not well, or undefined. */
const troubleOf = async (isJoining: boolean): Promise<string | undefined> => {
  try {
    const { status } = await createDaemon().json<Node>('/v1/node')
    const ready = status?.conditions?.find(it => it.type === 'Ready')
    if (ready?.status !== 'True') return ready?.message ?? 'the node does not say whether it is ready'
    return isJoining && !(await isThere(places.kubeconfig)) ? 'the cluster has not issued a certificate yet' : undefined
  } catch (error) {
    return describe(error)
  }
}

const waitUntilWell = async (options: InstallOptions, { exec, clock }: SetupDeps): Promise<void> => {
  const deadline = clock.monotonic() + options.timeoutMs
  for (;;) {
    const trouble = await troubleOf(options.join !== undefined)
    if (trouble === undefined) return
    if (clock.monotonic() > deadline) {
      const journal = ['journalctl', '--unit', 'nodelet', '--lines', '8', '--no-pager', '--output', 'cat']
      const { stdout } = await exec.try(journal).catch(() => ({ stdout: '' }))
      throw new Fault('io', `the node is not well after ${options.timeoutMs / 1000} s: ${trouble}\n${stdout.trim()}`, {
        retry: 'backoff',
      })
    }
    await clock.sleep(200)
  }
}

/** Runs the stages in order and says how long each took. */
const createStages = ({ clock, out }: SetupDeps) => {
  const began = clock.monotonic()
  return async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const result = await work()
    out(`${((clock.monotonic() - began) / 1000).toFixed(1).padStart(6)} s  ${what}\n`)
    return result
  }
}

const install = async (options: InstallOptions, deps: SetupDeps): Promise<number> => {
  const { out, err } = deps
  const stage = createStages(deps)
  if (!isSea())
    throw new Fault(
      'unsupported',
      'this is a checkout: `npm run build` makes dist/nodelet, and `dist/nodelet install` installs it',
      {
        retry: 'never',
      },
    )
  const intent = { isJoining: options.join !== undefined }
  const findings = await stage('looked at this machine', async () => examine(await lookAtHost(deps.exec), intent))
  const inTheWay = obstacles(findings)
  if (inTheWay.length > 0) {
    err(`${inTheWay.map(toText).join('')}this machine cannot be a node like this; nothing was changed\n`)
    return 1
  }
  const { join } = options
  const joining = join && (await stage('asked the cluster', () => prepareJoin(join, deps.clock)))
  for (const finding of findings.filter(it => !it.isGrave && it.fix === undefined)) out(toText(finding))
  const program = await stage('the program is in place', placeProgram)
  const left = await stage('the machine is prepared', () => applyFixes(findings, deps))
  if (left.some(it => it.isGrave)) {
    err('what could not be fixed is in the way of a node; correct it and run this again\n')
    return 1
  }
  await stage('configuration and service are written', () => writeFiles(program, options, joining))
  await stage('the service starts', () => startService(deps))
  await stage('the node is well', () => waitUntilWell(options, deps))
  out(
    join
      ? 'This machine is a node of the cluster: `kubectl get nodes` shows it.\n'
      : `Put Pods and Services into ${places.manifests}, and look with \`nodelet get pods\`.\n`,
  )
  return 0
}

/** @returns the exit code */
export const runInstall = async (argv: readonly string[], deps: SetupDeps): Promise<number> => {
  const options = installOptions(argv)
  if (options === undefined) {
    deps.out(usage.install)
    return 0
  }
  return install(options, deps)
}
