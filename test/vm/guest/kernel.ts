// Tests of the kernel ring that show more on this machine than on one without cgroup v2 and systemd: run here as they are.
import { mkdir } from 'node:fs/promises'
import { systemExec } from '../../../host/exec.ts'
import { say } from './report.ts'

// tap has one of its own, half a minute for a file, which is no more than this kernel's rules take under emulation
const limitMs = 300_000

/** Runs one file and reports its assertions as one check; packages that only tests import are there for its time. */
const runFile = async (file: string): Promise<void> => {
  // imported when /opt/node_modules is there: it reads TAP by a package that only tests have
  const { runFile: run } = await import('../../support/tap-file.ts')
  const { passed, skipped, failures, ms } = await run(file, { timeoutMs: limitMs, env: { TAP_TIMEOUT: String(limitMs / 1000) } })
  const [first = '', ...rest] = failures.join('\n').split('\n')
  say(failures.length === 0 ? `ok kernel: ${file}: ${passed} assertions, ${skipped} skipped` : `not ok kernel: ${first}`)
  for (const line of rest) say(`    ${line}`)
  say(`  ${(ms / 1000).toFixed(1)} s`)
}

export const kernelChecks = async (...files: readonly string[]): Promise<void> => {
  await mkdir('/opt/node_modules', { recursive: true })
  await systemExec.run(['mount', '--bind', '/opt/dev', '/opt/node_modules'])
  for (const file of files) await runFile(file)
  await systemExec.run(['umount', '/opt/node_modules'])
}
