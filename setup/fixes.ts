// Carries out the fixes that the checks name: modules, settings of the kernel, containerd. Each is written where it outlives a reboot,
// and can be done twice. Decides nothing.
import { mkdir, readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock } from '../host/clock.ts'
import type { Exec } from '../host/exec.ts'
import { describe, Fault } from '../host/fault.ts'
import { writeFileAtomic } from '../host/files.ts'
import type { Fix } from './checks.ts'
import { readView, type Wish, withWish } from './containerd-text.ts'
import { places } from './places.ts'

export interface FixDeps {
  readonly exec: Exec
  readonly clock: Clock
}

const text = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '')

/** Replaces a file of ours or of the administrator's. @throws Fault `io` that names it */
export const putFile = async (path: string, content: string, mode = 0o644): Promise<void> => {
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFileAtomic(path, content, { mode, durable: true })
  } catch (cause) {
    throw new Fault('io', `${path} could not be written`, { cause, retry: 'never' })
  }
}

const header = '# Written by `nodelet install`, removed by `nodelet uninstall`.'

/** The lines of our file with these added, each once, by what is before `=`. */
const withLines = (before: string, lines: readonly string[]): string => {
  const nameOf = (line: string) => line.split('=')[0]?.trim()
  const names = new Set(lines.map(nameOf))
  const kept = before.split('\n').filter(line => line !== '' && line !== header && !names.has(nameOf(line)))
  return [header, ...kept, ...lines, ''].join('\n')
}

const loadModules = async (names: readonly string[], { exec }: FixDeps): Promise<void> => {
  await exec.run(['modprobe', '--all', ...names])
  await putFile(places.modules, withLines(await text(places.modules), names))
}

const setSysctls = async (values: Readonly<Record<string, string>>, { exec }: FixDeps): Promise<void> => {
  const lines = Object.entries(values).map(([name, value]) => `${name} = ${value}`)
  for (const [name, value] of Object.entries(values)) await exec.run(['sysctl', '--quiet', '--write', `${name}=${value}`])
  await putFile(places.sysctls, withLines(await text(places.sysctls), lines))
}

/** Until it answers. */
const runtimeAnswers = async ({ exec, clock }: FixDeps): Promise<void> => {
  const deadline = clock.monotonic() + 60_000
  for (;;) {
    const asked = await exec.try(['ctr', '--connect-timeout', '2s', 'version'], { timeoutMs: 10_000 })
    if (asked.exitCode === 0) return
    if (clock.monotonic() > deadline) throw new Fault('runtime-away', `containerd does not answer: ${asked.stderr.trim()}`)
    await clock.sleep(200)
  }
}

const isFulfilled = (dump: string, wish: Wish): boolean => {
  const view = readView(dump)
  return (
    !(wish.enableCri && view.isCriDisabled) &&
    !(wish.systemdCgroup && !view.systemdCgroup) &&
    (wish.sandboxImage === undefined || view.sandboxImage === wish.sandboxImage)
  )
}

/** The file as it was, beside it; empty where there was none. */
export const originalOf = (path: string): string => `${path}.before-nodelet`

/**
 * Changes the file, asks containerd itself what it makes of it, and restarts it: containers run on.
 * The file as it was first stays beside it, for the way back.
 */
const configureContainerd = async (wish: Wish, deps: FixDeps): Promise<void> => {
  const { exec } = deps
  const path = places.containerdConfig
  const before = await text(path)
  const advice = 'set SystemdCgroup = true for runc and sandbox_image there yourself, and enable CRI'
  const after = withWish(before, (await exec.run(['containerd', 'config', 'dump'])).stdout, wish)
  if (after === undefined) throw new Fault('unsupported', `${path} is of version 1: ${advice}`, { retry: 'never' })
  await putFile(`${path}.nodelet-try`, after)
  try {
    const asked = await exec.try(['containerd', '--config', `${path}.nodelet-try`, 'config', 'dump'])
    if (asked.exitCode !== 0 || !isFulfilled(asked.stdout, wish))
      throw new Fault('unsupported', `${path} is written in a way that is not understood: ${advice}`, { retry: 'never' })
  } finally {
    await exec.try(['rm', '--force', `${path}.nodelet-try`])
  }
  // An original that is kept is that of the first change.
  if ((await stat(originalOf(path)).catch(() => undefined)) === undefined) await putFile(originalOf(path), before)
  await putFile(path, after)
  try {
    await exec.run(['systemctl', 'restart', 'containerd'], { timeoutMs: 120_000 })
    await runtimeAnswers(deps)
  } catch (error) {
    await putFile(path, before)
    await exec.try(['systemctl', 'restart', 'containerd'], { timeoutMs: 120_000 })
    throw new Fault(
      'runtime-refused',
      `containerd does not run with its new configuration, the old one is back: ${describe(error)}`,
      {
        cause: error,
        retry: 'never',
      },
    )
  }
}

const startContainerd = async (deps: FixDeps): Promise<void> => {
  await deps.exec.run(['systemctl', 'enable', '--quiet', '--now', 'containerd'], { timeoutMs: 120_000 })
  await runtimeAnswers(deps)
}

const fixers: { readonly [D in Fix['do']]: (fix: Extract<Fix, { do: D }>, deps: FixDeps) => Promise<void> } = {
  'load-modules': ({ names }, deps) => loadModules(names, deps),
  'set-sysctls': ({ values }, deps) => setSysctls(values, deps),
  'start-containerd': (_, deps) => startContainerd(deps),
  'configure-containerd': ({ wish }, deps) => configureContainerd(wish, deps),
}

/** @throws Fault that says what could not be done */
export const applyFix = <D extends Fix['do']>(fix: Extract<Fix, { do: D }>, deps: FixDeps): Promise<void> =>
  (fixers[fix.do] as (fix: Fix, deps: FixDeps) => Promise<void>)(fix, deps)
