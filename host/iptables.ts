// iptables(8) of one family, whatever its backend is (nf_tables or legacy): rules go in by iptables-restore, all or nothing per table.
// Whoever owns chains compiles their text elsewhere; nobody but this file starts these programs. The lock of the legacy backend is
// waited for; a lock that stays taken is a Fault, as is everything else that is refused.
import type { Exec, RunResult } from './exec.ts'
import { Fault } from './fault.ts'

/** A rule in the words of `-A`, without the verb: its chain comes first. */
export interface PlacedRule {
  readonly table: string
  readonly rule: readonly string[]
}

export interface Iptables {
  /** `nft`: writes nf_tables, whose changes can be followed; `legacy`: writes each table as a whole, and nobody is told. */
  readonly variant: 'nft' | 'legacy'
  /**
   * Applies a text of `iptables-restore --noflush`: chains that it names (`:NAME - [0:0]`) are emptied first, others stay.
   * @throws Fault `kernel-refused` with what the program said, to be tried again at once when the lock was taken all the time; tables of
   * the text before the one refused may have been changed
   */
  restore(text: string): Promise<void>
  /**
   * Everything of one table as `iptables-save` prints it; slow where there are many rules.
   * @throws Fault `kernel-refused`
   */
  save(table: string): Promise<string>
  /**
   * Those of these rules that are not there; one process when all are.
   * @throws Fault `kernel-refused` when somebody holds the lock
   */
  missing(rules: readonly PlacedRule[]): Promise<readonly PlacedRule[]>
  /** Whether a table has a chain. @throws Fault `kernel-refused` when somebody holds the lock */
  hasChain(table: string, chain: string): Promise<boolean>
}

// Others hold the lock for as long as they list a large table.
const lockSeconds = '5'
const timeoutMs = 120_000

const accept = (program: string, { exitCode, stdout, stderr }: RunResult): string => {
  if (exitCode === 0) return stdout
  const said = stderr.trim().split('\n').slice(0, 12).join('\n').slice(0, 2_000)
  const retry = isLockHeld(said) ? 'now' : 'backoff'
  throw new Fault('kernel-refused', `${program}: ${said || `exit code ${exitCode}`}`, { retry })
}

/** Somebody else has the lock: that ends by itself, and says nothing of what the kernel can do. */
const isLockHeld = (said: string): boolean => /holding the xtables lock/.test(said)

const quoted = (word: string): string => (/\s/.test(word) ? `"${word}"` : word)

/** A text that changes nothing and fails when one of the rules is not there. */
const checkText = (rules: readonly PlacedRule[]): string =>
  [...Map.groupBy(rules, ({ table }) => table)]
    .map(([table, ofTable]) => {
      const checks = ofTable.map(({ rule }) => `-C ${rule.map(quoted).join(' ')}\n`).join('')
      return `*${table}\n${checks}COMMIT\n`
    })
    .join('')

/**
 * Finds out which iptables there is.
 * @param command `iptables`, `ip6tables`, or one of them with `-nft` or `-legacy` behind
 * @throws Fault `unsupported` when there is none, or its programs for many rules at once are not there
 */
export const openIptables = async (exec: Pick<Exec, 'try'>, command: string): Promise<Iptables> => {
  const version = await exec.try([command, '--version']).catch(cause => {
    throw new Fault('unsupported', `${command}: there is no such program on this host`, { cause, retry: 'never' })
  })
  if (version.exitCode !== 0) throw new Fault('unsupported', `${command}: ${version.stderr.trim()}`, { retry: 'never' })
  return {
    ...createIptables(exec, command),
    variant: version.stdout.includes('nf_tables') ? 'nft' : 'legacy',
  }
}

/** Talks to the programs of one family through the given exec. */
const createIptables = (exec: Pick<Exec, 'try'>, command: string): Omit<Iptables, 'variant'> => {
  const restoring = [`${command}-restore`, '-w', lockSeconds, '--noflush']
  // 1 and 2 say that the rule or a chain is not there, 4 that the lock was.
  const isThere = async (argv: readonly string[], input?: string): Promise<boolean> => {
    const result = await exec.try(argv, { timeoutMs, ...(input !== undefined && { input }) })
    if (result.exitCode > 2) accept(command, result)
    return result.exitCode === 0
  }
  return {
    restore: async text => void accept(`${command}-restore`, await exec.try(restoring, { input: text, timeoutMs })),
    save: async table => accept(`${command}-save`, await exec.try([`${command}-save`, '-t', table], { timeoutMs })),
    missing: async rules => {
      if (await isThere(restoring, checkText(rules))) return []
      const missing: PlacedRule[] = []
      for (const one of rules)
        if (!(await isThere([command, '-w', lockSeconds, '-t', one.table, '-C', ...one.rule]))) missing.push(one)
      return missing
    },
    hasChain: (table, chain) => isThere([command, '-w', lockSeconds, '-t', table, '-S', chain]),
  }
}
