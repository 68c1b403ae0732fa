// The nftables mode put together: which families this kernel routes, their backends, and the watch on their tables.
import { describe, Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { createNft, createNftElements, type Nft } from '../../host/nft.ts'
import { watchTables } from '../../host/nftmonitor.ts'
import { createDrift, fleetingSets, proxyTables } from '../drift.ts'
import type { Mode, ModeDeps } from '../mode.ts'
import { createLosses } from '../vanished.ts'
import { createNftBackend } from './backend.ts'
import { ip } from './ip.ts'
import { ip6 } from './ip6.ts'
import { type FamilyWords, tableName } from './words.ts'

const usableFamilies = async (nft: Nft, log: Log): Promise<readonly FamilyWords[]> => {
  const usable: FamilyWords[] = []
  const refusals: string[] = []
  for (const words of [ip, ip6])
    try {
      const table = `${words.table} ${tableName}`
      await nft.check(`add table ${table}\nadd chain ${table} probe { type nat hook prerouting priority -100 ; }\n`)
      usable.push(words)
    } catch (error) {
      refusals.push(describe(error))
      log.warn({ err: error, family: words.family }, 'Services of this family cannot be routed here')
    }
  if (usable.length === 0)
    throw new Fault('unsupported', `this host has no nftables with NAT, which Service routing needs: ${refusals.join('; ')}`)
  return usable
}

/** Finds out what nft and the kernel take. @throws Fault `unsupported` when they route no family */
export const openNftables = async ({ exec, clock, log }: ModeDeps): Promise<Mode> => {
  const nft = createNft(exec)
  const usable = await usableFamilies(nft, log)
  return {
    families: usable.map(({ family }) => family),
    backends: ({ settings, slices }) =>
      usable.map(words => createNftBackend({ nft, elements: createNftElements(exec), words, settings, slices })),
    watch: ({ resync, settled, also, vanished }) => {
      const losses = createLosses(vanished, settled)
      const drift = createDrift({ resync, losses })
      const monitor = watchTables(
        { exec, clock, log },
        [...proxyTables, ...(also?.tables ?? [])],
        change => (proxyTables.includes(change.table) ? drift.onForeignChange(change) : also?.onForeignChange(change)),
        { ignore: fleetingSets, after: settled() },
      )
      return {
        get count() {
          return losses.count
        },
        get isRunning() {
          return monitor.isRunning
        },
        stop: monitor.stop,
      }
    },
  }
}
