// The iptables mode put together: which families this kernel routes, their backends, the watch on their chains, and the way out.
// Where iptables writes nf_tables the kernel tells of deletions, and they are repaired at once; the legacy tables tell nobody.
import type { Protocol } from '../../api/meta.ts'
import type { IPFamily } from '../../api/service-types.ts'
import type { Exec } from '../../host/exec.ts'
import { describe, Fault, isFault } from '../../host/fault.ts'
import { type Iptables, openIptables } from '../../host/iptables.ts'
import type { Log } from '../../host/log.ts'
import { type ForeignChange, type Sign, watchTables } from '../../host/nftmonitor.ts'
import type { Mode, ModeDeps } from '../mode.ts'
import { createLosses } from '../vanished.ts'
import { createIptablesBackend, removeChains } from './backend.ts'
import { type Canary, createCanary } from './canary.ts'
import { probeKernel } from './probe.ts'
import { type FamilyWords, isProxyChain, passingChains, v4, v6 } from './words.ts'

interface Usable {
  readonly words: FamilyWords
  readonly family: IPFamily
  readonly iptables: Iptables
  readonly protocols: ReadonlySet<Protocol>
}

// As many as an EndpointSlice may name, which take 6 s here; it grows with the square, for the rules of one address stand in one chain:
// 65,535 would keep every other Service waiting for minutes.
const mostPorts = 20_000

// Each waits for the lock by itself, too: a minute in all.
const mostTries = 12

/** What the kernel takes; a lock that others hold is waited for, since it tells nothing of the kernel. */
const probePatiently = async (iptables: Iptables, command: string, log: Log): Promise<ReadonlySet<Protocol>> => {
  for (let tried = 1; ; tried++)
    try {
      return await probeKernel(iptables)
    } catch (error) {
      if (!isFault(error, 'kernel-refused') || error.retry !== 'now' || tried === mostTries) throw error
      if (tried === 1) log.warn({ command }, `waiting: ${describe(error)}`)
    }
}

const usableFamilies = async (exec: Pick<Exec, 'try'>, log: Log): Promise<readonly Usable[]> => {
  const usable: Usable[] = []
  const refusals: string[] = []
  for (const words of [v4, v6])
    try {
      const iptables = await openIptables(exec, words.command)
      const protocols = await probePatiently(iptables, words.command, log)
      usable.push({ words, family: words.family, iptables, protocols })
      if (!protocols.has('SCTP'))
        log.warn({ family: words.family }, 'this kernel has no iptables rules for SCTP: Services of SCTP are not routed')
    } catch (error) {
      refusals.push(describe(error))
      log.warn({ err: error, family: words.family }, 'Services of this family cannot be routed here')
    }
  if (usable.length === 0) {
    const why = refusals.join('; ')
    throw new Fault('unsupported', `this host has no iptables that the iptables mode can use (nftables may do): ${why}`)
  }
  return usable
}

const watchedTables: Readonly<Record<string, IPFamily>> = {
  'ip nat': 'IPv4',
  'ip filter': 'IPv4',
  'ip6 nat': 'IPv6',
  'ip6 filter': 'IPv6',
}

/** Our transactions there begin and end with a chain that passes: iptables-restore knows no sets. */
const sign: Sign = ({ table, kind, name }) => {
  if (watchedTables[table] === undefined || kind !== 'chain') return undefined
  return name === passingChains.begin ? 'begin' : name === passingChains.end ? 'end' : undefined
}

const isCertain = (what: string): boolean => what === 'table' || isProxyChain(what.slice(what.indexOf(' ') + 1))

const onForeignChange = ({ table, gone }: ForeignChange, canary: Canary, resync: (family: IPFamily) => void): void => {
  const family = watchedTables[table]!
  if (gone.includes('unknown')) {
    resync(family)
    return
  }
  const certain = gone.filter(isCertain)
  if (certain.length > 0)
    canary.report(
      family,
      certain.map(what => `${table} ${what}`),
    )
  // A rule of a chain that others use too: ours may have been among those that went.
  else canary.poke()
}

/** Finds out what iptables and the kernel take. @throws Fault `unsupported` when they route no family */
export const openIptablesMode = async ({ exec, clock, log }: ModeDeps): Promise<Mode> => {
  const usable = await usableFamilies(exec, log)
  return {
    families: usable.map(({ family }) => family),
    mostPorts,
    backends: ({ settings, slices }) =>
      usable.map(({ words, iptables, protocols }) =>
        createIptablesBackend({
          ...{ iptables, words, variant: iptables.variant, settings, slices },
          takes: ({ protocol }) => protocols.has(protocol),
        }),
      ),
    watch: ({ resync, settled, stands, also, vanished }) => {
      const canary = createCanary({ families: usable, stands, resync, losses: createLosses(vanished, settled), clock, log })
      const told = usable.filter(({ iptables }) => iptables.variant === 'nft').map(({ family }) => family)
      const ours = Object.entries(watchedTables).flatMap(([table, family]) => (told.includes(family) ? [table] : []))
      const lost = (family: IPFamily) => resync('reports of changes were lost', family)
      const monitor = watchTables(
        { exec, clock, log },
        [...ours, ...(also?.tables ?? [])],
        change =>
          watchedTables[change.table] === undefined ? also?.onForeignChange(change) : onForeignChange(change, canary, lost),
        { signs: [sign] },
      )
      return {
        get count() {
          return canary.count
        },
        get isRunning() {
          return monitor.isRunning
        },
        stop: () => {
          canary.stop()
          monitor.stop()
        },
      }
    },
  }
}

/** Tables of the legacy kind that there are: a program that asks for one that is not there makes it. */
const legacyCommands = async (exec: Pick<Exec, 'try'>, { command, names }: FamilyWords): Promise<readonly string[]> => {
  const { stdout } = await exec.try(['cat', names]).catch(() => ({ stdout: '' }))
  return stdout.split('\n').includes('nat') ? [`${command}-legacy`] : []
}

/**
 * Removes the chains that this program has made, by whichever kind of iptables. A host without iptables has none.
 * @returns what was removed, as a person would read it
 */
export const cleanupIptables = async (exec: Pick<Exec, 'try'>): Promise<readonly string[]> => {
  const removed: string[] = []
  for (const words of [v4, v6])
    for (const command of [words.command, `${words.command}-nft`, ...(await legacyCommands(exec, words))]) {
      const iptables = await openIptables(exec, command).catch(() => undefined)
      const count = iptables === undefined ? 0 : await removeChains(iptables)
      if (count > 0) removed.push(`${count} chains of ${words.command}`)
    }
  return removed
}
