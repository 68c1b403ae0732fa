// ipset(8): sets of addresses and ports that iptables rules look into. Changes go in by one `ipset restore` each.
// Whoever owns a set compiles the lines elsewhere; nobody but this file starts ipset or reads what it prints.
// A restore is no transaction: lines before one that is refused have taken effect.
import type { Exec, RunResult } from './exec.ts'
import { Fault } from './fault.ts'

export interface SetHeader {
  readonly name: string
  /** `hash:ip,port` */
  readonly type: string
  readonly entries: number
}

export interface Ipsets {
  /**
   * Carries out lines (`add NAME ENTRY`) in one process. What is there already, or gone already, is no failure.
   * @throws Fault `kernel-refused` with what ipset said
   */
  restore(lines: readonly string[]): Promise<void>
  /** All sets, without their entries. @throws Fault `kernel-refused` */
  headers(): Promise<readonly SetHeader[]>
  /** The entries of one set with their options; none when it is not there. @throws Fault `kernel-refused` */
  entries(name: string): Promise<readonly string[]>
  /** Whether a set has an entry; false also when there is no such set. */
  has(name: string, entry: string): Promise<boolean>
}

const timeoutMs = 60_000

const accept = ({ exitCode, stdout, stderr }: RunResult): string => {
  if (exitCode === 0) return stdout
  throw new Fault('kernel-refused', `ipset: ${stderr.trim().slice(0, 2_000) || `exit code ${exitCode}`}`)
}

/** Reads what `ipset list -terse` prints. */
export const parseHeaders = (listed: string): readonly SetHeader[] =>
  listed.split(/\n(?=Name: )/).flatMap(block => {
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1]
    const name = field('Name')
    return name === undefined ? [] : [{ name, type: field('Type') ?? '', entries: Number(field('Number of entries') ?? 0) }]
  })

/** Talks to ipset through the given exec. */
export const createIpsets = (exec: Pick<Exec, 'try'>): Ipsets => ({
  restore: async lines => {
    if (lines.length === 0) return
    accept(await exec.try(['ipset', '-exist', 'restore'], { input: `${lines.join('\n')}\n`, timeoutMs }))
  },
  headers: async () => parseHeaders(accept(await exec.try(['ipset', 'list', '-terse'], { timeoutMs }))),
  has: async (name, entry) => (await exec.try(['ipset', '-quiet', 'test', name, entry])).exitCode === 0,
  entries: async name => {
    const result = await exec.try(['ipset', 'save', name], { timeoutMs })
    if (result.exitCode !== 0 && result.stderr.includes('does not exist')) return []
    return accept(result)
      .split('\n')
      .filter(line => line.startsWith(`add ${name} `))
      .map(line => line.slice(`add ${name} `.length))
  },
})
