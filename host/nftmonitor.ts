// Notices when somebody else takes away what is ours in nftables: one `nft monitor` child for all tables that are watched.
// Our own transactions are told apart by a signature: they open and close with a passing element of a set of their own
// (`signature`), and everything the kernel reports between the two is ours, whichever of our processes sent it.
// Owns no table and repairs nothing. Only deletions are watched: nobody loses traffic by what is added.
import type { Clock, Timer } from './clock.ts'
import type { Exec } from './exec.ts'
import { keepRunning, type Resident, type ResidentDeps, startAfter } from './resident.ts'

/** The set that carries signatures; every table that is watched has it, as `set signature { type mark ; }`. */
export const signatureSet = 'signature'

const opening = '0x00000001'
const closing = '0x00000002'

/** Adds our signature to the commands of a transaction; the table must be there before it, and after it. */
export const signed = (table: string, lines: readonly string[]): string => {
  const pass = (mark: string) => [
    `add element ${table} ${signatureSet} { ${mark} }`,
    `delete element ${table} ${signatureSet} { ${mark} }`,
  ]
  return `${[...pass(opening), ...lines, ...pass(closing)].join('\n')}\n`
}

/** As `signed`, for a transaction that replaces the table as a whole, whether it was there or not. `lines` make it anew. */
export const signedReplacement = (table: string, lines: readonly string[]): string =>
  signedAnyhow(table, [`delete table ${table}`, ...lines])

/** As `signed`, for a table that may have lost its set, or may not be there. */
export const signedAnyhow = (table: string, lines: readonly string[]): string =>
  `add table ${table}\nadd set ${table} ${signatureSet} { type mark ; }\n${signed(table, lines)}`

/** Text of one transaction that makes the table when it is not there, and removes it; never fails for want of it. */
export const signedRemoval = (table: string): string =>
  // Nothing is left to sign with once the table is gone: whoever removes it stops watching first.
  `add table ${table}\ndelete table ${table}\n`

export interface ForeignChange {
  /** `family name`, as it was asked to be watched. */
  readonly table: string
  /** What went: `table`, `chain services`, `rule services`, `element endpoints`; or `unknown` when reports were lost. */
  readonly gone: readonly string[]
}

/** After a large load of our own, of which reports were lost, what comes without a pause as long as this is still its own. */
const quietMs = 500
/** A load that takes longer, or never succeeds, does not keep other tables unwatched. */
const longestWaitMs = 10_000

/** One deletion that the kernel reports. */
export interface Deletion {
  readonly table: string
  readonly kind: string
  readonly name: string
  /** Of an element. */
  readonly key: string | undefined
}

/** Tells our own signs among the reports: between the two everything is ours. */
export type Sign = (deletion: Deletion) => 'begin' | 'end' | undefined

const signBySet: Sign = ({ kind, name, key }) =>
  kind === 'element' && name === signatureSet ? (key === opening ? 'begin' : 'end') : undefined

export interface WatchOptions {
  /** The beginnings of names of sets whose elements come and go by themselves. */
  readonly ignore?: readonly string[]
  /** Signs of our own beside that of the set `signature`, for tables that other programs write in our name. */
  readonly signs?: readonly Sign[]
  /**
   * What the watch begins after, at most `longestWaitMs` from now: a large load of our own, which would only be told element by element
   * (a seventh of its time). Tables that are not there by then are reported as `unknown`.
   */
  readonly after?: Promise<unknown>
}

const gatherMs = 20

interface Reports {
  report(table: string, what: string): void
  stop(): void
}

/** Reports of one foreign transaction come line by line: they are told as one change of each table. */
const gatherReports = (clock: Clock, onForeignChange: (change: ForeignChange) => void): Reports => {
  const gathered = new Map<string, Set<string>>()
  let timer: Timer | undefined
  const flush = () => {
    timer = undefined
    const all = [...gathered]
    gathered.clear()
    for (const [table, gone] of all) onForeignChange({ table, gone: [...gone] })
  }
  return {
    report: (table, what) => {
      const gone = gathered.get(table) ?? new Set()
      gathered.set(table, gone.add(what))
      timer ??= clock.after(gatherMs, flush)
    },
    stop: () => timer?.cancel(),
  }
}

const deletionLine = /^delete (table|chain|rule|set|map|element|flowtable|object) (\S+ \S+)(?: (\S+))?(?: \{ (\S+))?/

/** Reads the monitor's lines and reports deletions that are not between signs of our own. */
const createReader = (
  tables: readonly string[],
  { ignore = [], signs = [] }: Pick<WatchOptions, 'ignore' | 'signs'>,
  report: Reports['report'],
) => {
  const signing = new Set<string>()
  const passes = ({ kind, name }: Deletion) =>
    name.startsWith('__') || (kind === 'element' && ignore.some(prefix => name.startsWith(prefix)))
  return {
    read: (line: string) => {
      const found = deletionLine.exec(line)
      if (found === null) return
      const [, kind = '', table = '', name = '', key] = found
      if (!tables.includes(table)) return
      const deletion: Deletion = { table, kind, name, key }
      const sign = [signBySet, ...signs].map(told => told(deletion)).find(one => one !== undefined)
      if (sign === 'begin') signing.add(table)
      else if (sign === 'end') signing.delete(table)
      else if (!signing.has(table) && !passes(deletion)) report(table, kind === 'table' ? 'table' : `${kind} ${name}`)
    },
    /** Whether a load of our own is being told. */
    get isSigning() {
      return signing.size > 0
    },
    forget: () => signing.clear(),
  }
}

/** Waits, after reports were lost, until lines come with pauses again. */
const createQuiet = (clock: Clock, onQuiet: () => void) => {
  let last = 0
  let timer: Timer | undefined
  const look = () => {
    timer = undefined
    if (clock.monotonic() - last < quietMs) timer = clock.after(quietMs, look)
    else onQuiet()
  }
  return {
    await: () => {
      timer ??= clock.after(quietMs, look)
    },
    noteLine: () => {
      if (timer !== undefined) last = clock.monotonic()
    },
    stop: () => timer?.cancel(),
  }
}

/**
 * Watches tables (`ip nodelet-proxy`) until stopped.
 * After a death of the child everything may have happened unseen, so each table is reported as `unknown`.
 */
export const watchTables = (
  deps: ResidentDeps & { readonly exec: Pick<Exec, 'run'> },
  tables: readonly string[],
  onForeignChange: (change: ForeignChange) => void,
  options: WatchOptions = {},
): Resident => {
  const { clock, log } = deps
  const { report, stop } = gatherReports(clock, onForeignChange)
  const reader = createReader(tables, options, report)
  const reportAll = () => {
    for (const table of tables) report(table, 'unknown')
  }
  // Who flushes everything meanwhile is not seen to do so. To write all anew after each overrun would only bring the next one.
  const lookForTables = async () => {
    const { stdout } = await deps.exec.run(['nft', 'list', 'tables'])
    const standing = new Set(stdout.split('\n').map(line => line.replace(/^table /, '')))
    for (const table of tables) if (!standing.has(table)) report(table, 'unknown')
  }
  const reportMissing = () =>
    void lookForTables().catch(error => log.warn({ err: error }, 'the tables of nftables could not be listed'))
  const quiet = createQuiet(clock, () => {
    // The end of our own load may be among what was lost.
    reader.forget()
    reportMissing()
  })
  const onLine = (line: string) => {
    quiet.noteLine()
    if (!line.startsWith('# ERROR')) return reader.read(line)
    // The kernel's buffer ran over: what is between is unknown. Our own large loads do that too, when the child is slow.
    const busy = reader.isSigning
    log.warn({ line, busy }, 'reports of nftables changes were lost')
    if (busy) quiet.await()
    else reportAll()
  }
  const argv = ['nft', 'monitor', 'destroy']
  const start = () =>
    keepRunning(deps, { argv, what: 'the watch on nftables', onLine, onEnd: reader.forget, onRestart: reportAll })
  const startLate = () => {
    const started = start()
    reportMissing()
    return started
  }
  const { after } = options
  const monitor = after === undefined ? start() : startAfter(deps, after, longestWaitMs, startLate)
  return {
    get isRunning() {
      return monitor.isRunning
    },
    get restarts() {
      return monitor.restarts
    },
    stop: () => {
      stop()
      quiet.stop()
      monitor.stop()
    },
  }
}
