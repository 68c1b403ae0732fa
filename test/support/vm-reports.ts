// Runs a guest program of test/vm in a machine and makes an assertion of each check that it reports (test/vm/guest/report.ts).
// How far it is shows on stderr; with VM_LINES=1 also all that the guest says.
import type { Test } from 'tap'
import { runVm, type VmOptions } from './vm.ts'

interface Report {
  readonly name: string
  readonly held: boolean
  /** What the check said beside: all lines up to the next report. */
  readonly lines: string[]
}

const report = /^(not )?ok (.+)$/
const isReport = (line: string): boolean => report.test(line)

/** A reader of lines that collects reports. */
const readReports = (onStart: (line: string, name: string) => void) => {
  const reports: Report[] = []
  return {
    reports,
    read: (line: string) => {
      const [, not, name] = report.exec(line) ?? []
      if (name === undefined) reports.at(-1)?.lines.push(line)
      else {
        reports.push({ name, held: not === undefined, lines: [] })
        onStart(line, name)
      }
    },
  }
}

/**
 * Boots the machine, and asserts that it ran to its end and that all its checks held.
 * @param onReport called with the name of each check as it is reported
 */
export const checkInVm = async (
  t: Test,
  options: Omit<VmOptions, 'onLine'>,
  onReport: (name: string) => void = () => undefined,
): Promise<void> => {
  const started = performance.now()
  const show = (line: string) =>
    process.stderr.write(`${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s  ${line}\n`)
  const { reports, read } = readReports((line, name) => {
    show(line)
    onReport(name)
  })
  const isWordy = process.env['VM_LINES'] === '1'
  const onLine = (line: string) => {
    if (isWordy && !isReport(line)) show(`      ${line}`)
    read(line)
  }
  const result = await runVm({ ...options, onLine })
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
}
