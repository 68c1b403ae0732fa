// Notices that somebody else took rules of ours away: iptables itself tells nobody. A few rules, one of every place that a flush
// reaches, are looked for now and then, and at once when `poke` says that something was deleted.
// Reads only; what is to be done about it is the proxier's. Looking never overlaps with itself.
import type { IPFamily } from '../../api/service-types.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import type { Iptables, PlacedRule } from '../../host/iptables.ts'
import type { Log } from '../../host/log.ts'
import type { Losses } from '../vanished.ts'
import { jumpComment } from './skeleton.ts'
import { canaryChain, chainName, type Table } from './words.ts'

/** Rules that stand whatever Services there are, in the words of `iptables -C`. */
export const canaries: readonly (PlacedRule & { readonly table: Table })[] = [
  { table: 'nat', rule: ['PREROUTING', '-m', 'comment', '--comment', jumpComment, '-j', chainName.services] },
  { table: 'nat', rule: ['OUTPUT', '-m', 'comment', '--comment', jumpComment, '-j', chainName.services] },
  { table: 'nat', rule: ['POSTROUTING', '-m', 'comment', '--comment', jumpComment, '-j', chainName.postrouting] },
  { table: 'nat', rule: [chainName.services, '-m', 'addrtype', '--dst-type', 'LOCAL', '-j', chainName.nodeIPs] },
  { table: 'nat', rule: [chainName.postrouting, '-j', 'MASQUERADE', '--random-fully'] },
  { table: 'filter', rule: ['FORWARD', '-m', 'comment', '--comment', jumpComment, '-j', chainName.forward] },
  { table: 'filter', rule: [chainName.services, '-m', 'conntrack', '--ctstate', 'DNAT', '-j', 'RETURN'] },
]

export interface Canary {
  /** Looks as soon as possible. */
  poke(): void
  /** Something of ours is gone for certain. */
  report(family: IPFamily, gone: readonly string[]): void
  /** How often something was missing. */
  readonly count: number
  stop(): void
}

export interface CanaryDeps {
  readonly families: readonly {
    readonly family: IPFamily
    readonly iptables: Pick<Iptables, 'missing' | 'hasChain' | 'variant'>
  }[]
  /** Whether the rules of a family are expected to stand: not before the first sync, not after a failed one. */
  readonly stands: (family: IPFamily) => boolean
  readonly resync: (reason: string, family: IPFamily) => void
  readonly losses: Losses
  readonly clock: Clock
  readonly log: Log
}

const soonMs = 1_000
const laterMs = 30_000
/** A look at the rules that takes longer than this is not taken every second: the legacy tables are read as a whole for it. */
const cheapMs = 10
/** Of so many looks the quickest counts: one alone may have waited for a busy machine. */
const remembered = 5

/** Looks until stopped; nobody has to look often where the kernel tells of deletions. */
export const createCanary = ({ families, stands, resync, losses, clock, log }: CanaryDeps): Canary => {
  const looks = new Map<IPFamily, { readonly at: number; readonly costs: readonly number[] }>()
  const found = new Set<IPFamily>()
  let timer: Timer | undefined
  let stopped = false
  let looking = false
  let poked = false

  // Who empties everything does so table by table: it is written anew once.
  const repair = () => {
    for (const family of found) resync('rules were removed by somebody else', family)
    found.clear()
  }
  const report = (family: IPFamily, gone: readonly string[]) => {
    if (found.size === 0) clock.after(0, repair)
    found.add(family)
    losses.note(family, gone)
  }
  const isDue = (family: IPFamily): boolean => {
    const last = looks.get(family)
    if (last === undefined || last.costs.length < remembered) return true
    return Math.min(...last.costs) < cheapMs || clock.monotonic() - last.at >= laterMs
  }
  const lookAt = async ({ family, iptables }: CanaryDeps['families'][number], now: boolean): Promise<readonly string[]> => {
    // The table mangle is short whatever Services there are, and is emptied by whoever empties everything.
    if (iptables.variant === 'legacy' && !(await iptables.hasChain('mangle', canaryChain))) return [`mangle ${canaryChain}`]
    if (!now && !isDue(family)) return []
    const began = clock.monotonic()
    const missing = await iptables.missing(canaries)
    const ended = clock.monotonic()
    looks.set(family, { at: ended, costs: [...(looks.get(family)?.costs ?? []).slice(1 - remembered), ended - began] })
    return missing.map(({ table, rule }) => `${table} ${rule[0]}`)
  }
  const look = async (now: boolean): Promise<void> => {
    for (const one of families) {
      if (stopped || !stands(one.family)) continue
      const gone = await lookAt(one, now)
      // What was missing while everything is being written was not taken by anybody.
      if (gone.length > 0 && !stopped && stands(one.family)) report(one.family, gone)
    }
  }
  const everyMs = families.some(({ iptables }) => iptables.variant === 'legacy') ? soonMs : laterMs
  const run = async () => {
    if (looking) return
    looking = true
    timer?.cancel()
    const now = poked
    poked = false
    try {
      await look(now)
    } catch (error) {
      log.debug({ err: error }, 'the rules of Services could not be looked at')
    }
    looking = false
    if (!stopped) timer = clock.after(poked ? 0 : everyMs, () => void run())
  }
  timer = clock.after(everyMs, () => void run())
  return {
    poke: () => {
      poked = true
      if (!stopped) void run()
    },
    report,
    get count() {
      return losses.count
    },
    stop: () => {
      stopped = true
      timer?.cancel()
    },
  }
}
