// What this machine's kernel cannot show, tried on a freshly booted Debian 12 in QEMU: the quickstart, limits on cgroup v2 with the
// systemd driver, Services on kernel 6.1, and a power cut. One boot (and one after the power cut) for all of it; each check that
// test/vm/guest reports becomes an assertion here.
// VM=limits,services runs these parts only: quickstart, kernel, ipvs, limits, services, restart.
import t from 'tap'
import { busyboxImage, pauseImage, webImage } from '../support/images.ts'
import { runVm } from '../support/vm.ts'

const parts = (process.env['VM'] ?? '').split(',').filter(part => part !== '')
// A little less than what test/run.ts gives a file: the machine is still ended in order, and its console shown.
const limitMs = 1_140_000

t.setTimeout(limitMs + 30_000)

interface Report {
  readonly name: string
  readonly held: boolean
  /** What the check said beside: all lines up to the next report. */
  readonly lines: string[]
}

/** A reader of lines that collects reports. */
const readReports = (onStart: (line: string) => void) => {
  const reports: Report[] = []
  return {
    reports,
    read: (line: string) => {
      const [, not, name] = /^(not )?ok (.+)$/.exec(line) ?? []
      if (name === undefined) reports.at(-1)?.lines.push(line)
      else {
        reports.push({ name, held: not === undefined, lines: [] })
        onStart(line)
      }
    },
  }
}

const started = performance.now()
const { reports, read } = readReports(line =>
  process.stderr.write(`${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s  ${line}\n`),
)
const argv = ['node', 'test/vm/guest/main.ts', ...parts]
const result = await runVm({ argv, images: [pauseImage, busyboxImage, webImage], onLine: read, timeoutMs: limitMs })

for (const { name, held, lines } of reports)
  t.test(name, async t => {
    if (held) t.pass(name)
    else t.fail(name, { output: lines.join('\n') })
  })

t.test('the machine ran to its end, and something was checked', async t => {
  const diagnostics = { output: result.output.slice(-40).join('\n'), console: result.console.slice(-3000) }
  t.equal(result.exitCode, 0, 'exit code of the guest', diagnostics)
  t.ok(reports.length > 0, 'reports', diagnostics)
})
