// The release that a test brings along, in /opt/release, and how its program runs on an emulated machine: interpreted only, as Node is
// for the tests (test/support/vm-payload.ts), by the variable that Node reads.
import { mkdir, writeFile } from 'node:fs/promises'
import { type RunResult, systemExec } from '../../../host/exec.ts'
import { say } from './report.ts'

export const release = '/opt/release/nodelet'
const packageFile = '/opt/release/nodelet.deb'

/** For processes of the release: what this one was started with is for sources, too. */
export const env = { NODE_OPTIONS: '--jitless' } as const

const limitMs = 240_000

/** Settings for the services of the release on this machine, over those of their units. */
export const adjustServices = async (units: Readonly<Record<string, readonly string[]>>): Promise<void> => {
  for (const [unit, settings] of Object.entries(units)) {
    const folder = `/etc/systemd/system/${unit}.service.d`
    const lines = ['[Service]', `Environment=NODE_OPTIONS=${env.NODE_OPTIONS}`, ...settings, '']
    await mkdir(folder, { recursive: true })
    await writeFile(`${folder}/vm.conf`, lines.join('\n'))
  }
  await systemExec.run(['systemctl', 'daemon-reload'])
}

/** Runs a program of the release, and shows what it says and how long it took. */
export const tryRelease = async (...argv: readonly string[]): Promise<RunResult> => {
  const began = performance.now()
  const result = await systemExec.try(argv, { timeoutMs: limitMs, env })
  say(`  ${argv.join(' ')}: exit code ${result.exitCode} after ${((performance.now() - began) / 1000).toFixed(1)} s`)
  say(`${result.stdout}${result.stderr}`.trimEnd().replaceAll(/^/gm, '    '))
  return result
}

const succeed = async (...argv: readonly string[]): Promise<string> => {
  const { exitCode, stdout, stderr } = await tryRelease(...argv)
  if (exitCode !== 0) throw new Error(`${argv.join(' ')}: exit code ${exitCode}\n${stdout}${stderr}`)
  return stdout
}

/** As `apt-get install ./nodelet.deb` where all that it depends on is there. */
export const installPackage = (): Promise<string> => succeed('dpkg', '--install', packageFile)

export const purgePackage = (): Promise<string> => succeed('dpkg', '--purge', 'nodelet')
