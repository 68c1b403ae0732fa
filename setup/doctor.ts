// `nodelet doctor`: looks at the machine, says what would keep a node from working, and with --fix does what it can about it.
import type { Clock } from '../host/clock.ts'
import type { Exec } from '../host/exec.ts'
import { describe } from '../host/fault.ts'
import { examine, type Finding, type Intent } from './checks.ts'
import { applyFix } from './fixes.ts'
import { lookAtHost } from './look.ts'
import { type DoctorOptions, doctorOptions, usage } from './options.ts'

export interface SetupDeps {
  readonly exec: Exec
  readonly clock: Clock
  readonly out: (text: string) => void
  readonly err: (text: string) => void
}

/** A finding as people read it. */
export const toText = ({ isGrave, what, advice, fix }: Finding): string =>
  `${isGrave ? 'must' : 'note'}  ${what}\n      ${fix === undefined ? '' : '(--fix does it) '}${advice}\n`

/** Applies the fixes of findings in order, and says each. @returns those that could not be applied */
export const applyFixes = async (findings: readonly Finding[], deps: SetupDeps): Promise<readonly Finding[]> => {
  const left: Finding[] = []
  for (const finding of findings) {
    if (finding.fix === undefined) continue
    try {
      await applyFix(finding.fix, deps)
      deps.out(`fixed ${finding.what}\n`)
    } catch (error) {
      left.push(finding)
      deps.err(`not fixed: ${finding.what}: ${describe(error)}\n`)
    }
  }
  return left
}

const print = (findings: readonly Finding[], { format }: DoctorOptions, { out }: SetupDeps): void => {
  if (format === 'json') out(`${JSON.stringify({ findings }, null, 2)}\n`)
  else out(findings.length === 0 ? 'nothing is in the way of a node\n' : findings.map(toText).join(''))
}

/** @returns the exit code */
export const runDoctor = async (argv: readonly string[], deps: SetupDeps): Promise<number> => {
  const options = doctorOptions(argv)
  if (options === undefined) {
    deps.out(usage.doctor)
    return 0
  }
  const intent: Intent = { isJoining: options.isJoining }
  let findings = examine(await lookAtHost(deps.exec), intent)
  if (options.fix && !findings.some(it => it.id === 'root')) {
    await applyFixes(findings, deps)
    findings = examine(await lookAtHost(deps.exec), intent)
  }
  print(findings, options, deps)
  return findings.some(it => it.isGrave) ? 1 : 0
}
