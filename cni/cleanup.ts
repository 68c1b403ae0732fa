// Takes away everything that the plugin ever made on this host: interfaces, bridges, the nftables table, allocations.
// For `--cleanup` with the daemon stopped; what somebody else made stays, whatever it looks like.
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { unlessMissing } from '../host/errno.ts'
import { isFault } from '../host/fault.ts'
import type { ShownLink } from './bridge.ts'
import { defaultBridge, defaultDataDir } from './conf.ts'
import { type CniDeps, holdNetworks, type Networks } from './networks.ts'
import { table } from './portmap.ts'

const ourLink = /^nl[pb][0-9a-f]{12}$/

const removeTable = async ({ nft }: CniDeps): Promise<readonly string[]> => {
  const tables = (await nft.list(['list', 'tables'])).split('\n')
  if (!tables.includes(`table ${table}`)) return []
  await nft.apply(`delete table ${table}\n`)
  return [`nftables table ${table}`]
}

const holdIfThere = async (deps: CniDeps, dataDir: string): Promise<Networks | undefined> =>
  (await unlessMissing(stat(dataDir))) === undefined ? undefined : holdNetworks(deps, dataDir)

/**
 * Removes all that is ours.
 * @returns what was removed, a line each, as a person would read it
 * @throws CniFault with code 11 while a daemon holds the lock; Fault when the kernel keeps something
 */
export const cleanupCni = async (deps: CniDeps, dataDir: string = defaultDataDir): Promise<readonly string[]> => {
  // Without a folder nobody holds its lock, and none is made only to be removed.
  const networks = await holdIfThere(deps, dataDir)
  const all = networks?.all() ?? []
  try {
    const bridges = new Set([defaultBridge, ...all.map(({ network }) => network.bridge)])
    const shown = await deps.link.query<ShownLink>(['addr', 'show'])
    const links = shown.map(({ ifname }) => ifname).filter(name => ourLink.test(name) || bridges.has(name))
    try {
      await deps.link.batch(
        links.map(name => `link del dev ${name}`),
        { keepGoing: true },
      )
    } catch (error) {
      if (!isFault(error, 'not-found')) throw error
    }
    const tables = await removeTable(deps)
    const allocations = (networks?.attachments() ?? []).map(
      ({ addresses, containerId }) => `allocation ${addresses.map(it => it.address).join(', ')} of ${containerId}`,
    )
    for (const { network } of all) await rm(join(dataDir, network.name), { recursive: true, force: true })
    return [...links.map(name => `interface ${name}`), ...tables, ...allocations]
  } finally {
    networks?.lease.release()
  }
}
