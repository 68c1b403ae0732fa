// What this node's networks are, held under the lock of one data folder: their configuration, their attachments, their bridge and
// the one table of them all. Made from the disk alone, so that base and hostPorts can be repaired without a call of the runtime.
// Layout: DIR/lock, DIR/NETWORK/network.json, DIR/NETWORK/<address>.
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../host/clock.ts'
import type { Exec } from '../host/exec.ts'
import { createGroup, type Group } from '../host/group.ts'
import type { Link } from '../host/link.ts'
import type { Log } from '../host/log.ts'
import type { Nft } from '../host/nft.ts'
import { applySysctls, type Base, bridgeSysctls, ensureBridge, type SysctlDeps } from './bridge.ts'
import type { Network } from './conf.ts'
import { type Lease, takeLock } from './lock.ts'
import { tableText } from './masq.ts'
import { createRetirement, type Retirement } from './retire.ts'
import { type Attachment, openStore, type Store } from './store.ts'
import { createTable, type Table } from './table.ts'

export interface CniDeps {
  readonly exec: Exec
  readonly link: Link
  readonly nft: Nft
  readonly sysctl: SysctlDeps
  readonly clock: Clock
  readonly log: Log
  /** /proc/sys/kernel/random/boot_id */
  readonly bootId: string
  /** How long to wait for another holder of the lock; default 15 s. */
  readonly lockWaitSeconds?: number
}

export interface OpenNetwork {
  readonly network: Network
  readonly store: Store
  /** Makes the bridge right; done once and remembered until `forgetBase`. @throws Fault `network` */
  base(): Promise<Base>
  /** What was found right before may not be any more: the next `base` looks again. */
  forgetBase(): void
}

export interface Networks {
  readonly dataDir: string
  readonly table: Table
  readonly retirement: Retirement
  /** Makes the interfaces of pods: lists of commands for ip(8), those that come together in one process. */
  readonly pairs: Group<readonly string[]>
  /** Attachments that are going: no part of the table any more, still owners of their addresses. */
  readonly leaving: Set<Attachment>
  all(): readonly OpenNetwork[]
  find(name: string): OpenNetwork | undefined
  /** The network of a call, its configuration kept on disk when it is new or has changed. */
  open(network: Network): Promise<OpenNetwork>
  attachments(): readonly Attachment[]
  /** Lets local programs reach hostPorts of 127.0.0.1; done once per network. */
  allowLocalhostPorts(network: Network): Promise<void>
  readonly lease: Lease
}

const hasPorts = (store: Store): boolean => store.all().some(attachment => attachment.ports.length > 0)

const gatewaysInUse = (store: Store): ReadonlySet<string> =>
  new Set(
    store
      .all()
      .flatMap(({ addresses }) => addresses.map(({ address, gateway }) => `${gateway}${address.slice(address.indexOf('/'))}`)),
  )

const readNetwork = async (dir: string): Promise<Network | undefined> => {
  try {
    return JSON.parse(await readFile(join(dir, 'network.json'), 'utf8')) as Network
  } catch {
    // A folder of somebody else's, or one whose first call was killed before any address was given away.
    return undefined
  }
}

const writeNetwork = async (dir: string, network: Network) => {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const aside = join(dir, `.new-network-${process.pid}`)
  await writeFile(aside, `${JSON.stringify(network, null, 2)}\n`, { mode: 0o600 })
  await rename(aside, join(dir, 'network.json'))
}

/**
 * Takes the lock of a data folder and reads what is in it.
 * @throws CniFault with code 11 when another process keeps the lock
 */
export const holdNetworks = async (deps: CniDeps, dataDir: string): Promise<Networks> => {
  const lease = await takeLock(deps.exec, join(dataDir, 'lock'), deps.lockWaitSeconds)
  const networks = new Map<string, OpenNetwork>()
  const openings = new Map<string, Promise<OpenNetwork>>()
  const leaving = new Set<Attachment>()
  const localhostReady = new Set<string>()
  // A configuration that no pod uses and no call has named yet is only a memory.
  const named = new Set<string>()
  const attachments = () => [...networks.values()].flatMap(({ store }) => store.all())
  const whole = () => {
    const current = [...networks.values()].filter(({ network, store }) => named.has(network.name) || store.all().length > 0)
    return tableText(
      current.map(({ network }) => network),
      attachments().filter(attachment => !leaving.has(attachment)),
    )
  }
  const table = createTable(deps, whole)
  void lease.lost.then(table.close)

  const toOpen = (network: Network, store: Store): OpenNetwork => {
    let base: Promise<Base> | undefined
    const standing = () =>
      new Set(
        store
          .all()
          .filter(attachment => !leaving.has(attachment))
          .map(attachment => attachment.hostLink),
      )
    const make = () =>
      ensureBridge(deps, network, { inUse: gatewaysInUse(store), hostLinks: standing(), withLocalhostPorts: hasPorts(store) })
    return {
      network,
      store,
      base: () => {
        base ??= Promise.all([make(), table.stand()]).then(([made]) => made)
        base.catch(() => {
          base = undefined
        })
        return base
      },
      forgetBase: () => {
        base = undefined
        localhostReady.delete(network.bridge)
      },
    }
  }
  const open = async (network: Network): Promise<OpenNetwork> => {
    const before = networks.get(network.name)
    const dir = join(dataDir, network.name)
    named.add(network.name)
    if (before !== undefined && JSON.stringify(before.network) === JSON.stringify(network)) return before
    await writeNetwork(dir, network)
    const store = before?.store ?? (await openStore({ ...deps, dir, network: network.name }))
    const opened = toOpen(network, store)
    networks.set(network.name, opened)
    if (before !== undefined) await table.rewrite()
    return opened
  }
  for (const entry of await readdir(dataDir, { withFileTypes: true })) {
    const dir = join(dataDir, entry.name)
    const network = entry.isDirectory() ? await readNetwork(dir) : undefined
    if (network !== undefined)
      networks.set(network.name, toOpen(network, await openStore({ ...deps, dir, network: network.name })))
  }
  return {
    dataDir,
    table,
    retirement: createRetirement(deps),
    pairs: createGroup(deps.link.batchEach),
    leaving,
    lease,
    all: () => [...networks.values()],
    find: name => networks.get(name),
    open: network => {
      // Fifty first calls at once must not open one folder fifty times.
      const key = JSON.stringify(network)
      const opening = openings.get(key) ?? open(network).finally(() => openings.delete(key))
      openings.set(key, opening)
      return opening
    },
    attachments,
    allowLocalhostPorts: async network => {
      if (localhostReady.has(network.bridge)) return
      await applySysctls(deps.sysctl, bridgeSysctls(network, true))
      localhostReady.add(network.bridge)
    },
  }
}
