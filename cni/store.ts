// The attachments of one network on disk: a file per address, as host-local lays them out, each carrying the whole attachment.
// A file comes into being complete (written aside, then linked under its address, which fails where the address is taken), so that
// kill -9 at any point leaves either no file or one that DEL and GC find. The lock of lock.ts is held while a store is in use.
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { formatAddress, parseAddress } from '../host/address.ts'
import type { Clock, Millis } from '../host/clock.ts'
import { Fault } from '../host/fault.ts'
import type { AttachmentKey, Bandwidth, PortMapping } from './conf.ts'
import { nextAddress, type RangeSet } from './ipam.ts'
import { CniFault, cniCodes } from './spec.ts'

export interface PodAddress {
  /** Address with the length of its subnet: `10.244.0.5/24`. */
  readonly address: string
  readonly gateway: string
}

/** One interface of one pod: all that is needed to find, repair and remove what was made for it. */
export interface Attachment extends AttachmentKey {
  readonly network: string
  readonly netns: string
  /** `namespace/name` of the pod where the runtime said so. */
  readonly pod?: string
  /** The boot that it belongs to: interfaces do not outlive one, files do. */
  readonly bootId: string
  readonly at: Millis
  /** The end of the pair on the host. */
  readonly hostLink: string
  readonly mac: string
  readonly addresses: readonly PodAddress[]
  readonly ports: readonly PortMapping[]
  readonly bandwidth?: Bandwidth
}

export interface Store {
  all(): readonly Attachment[]
  find(key: AttachmentKey): Attachment | undefined
  /** Whether one more pod fits. */
  hasRoom(sets: readonly RangeSet[]): boolean
  /**
   * Gives an attachment one address out of each set and puts it on disk.
   * @throws Fault `address-range` when a set is exhausted; nothing is kept then
   */
  reserve(wanted: Omit<Attachment, 'addresses' | 'bootId' | 'at' | 'network'>, sets: readonly RangeSet[]): Promise<Attachment>
  /** Frees the addresses of an attachment; nothing happens when there is none. */
  release(key: AttachmentKey): Promise<void>
}

export interface StoreDeps {
  /** Folder of this network. */
  readonly dir: string
  readonly network: string
  readonly bootId: string
  readonly clock: Clock
}

const keyOf = ({ containerId, ifname }: AttachmentKey): string => `${containerId}/${ifname}`
const bare = (address: string): string => address.slice(0, address.indexOf('/'))
const lastFile = (set: number): string => `last_reserved_ip.${set}`

const parseAttachment = (text: string): Attachment | undefined => {
  try {
    const parsed = JSON.parse(text) as Attachment
    return typeof parsed.containerId === 'string' && Array.isArray(parsed.addresses) ? parsed : undefined
  } catch {
    return undefined
  }
}

const isCode = (error: unknown, code: string): boolean => (error as { code?: string })?.code === code

/**
 * Reads what is on disk and reclaims what an earlier boot left: its addresses, half-written files, and files that a crash of the
 * whole machine garbled (in this boot, no file can be).
 */
export const openStore = async ({ dir, network, bootId, clock }: StoreDeps): Promise<Store> => {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const attachments = new Map<string, Attachment>()
  const taken = new Map<string, string>()
  const last = new Map<number, string>()
  let written = 0

  const hold = (attachment: Attachment) => {
    attachments.set(keyOf(attachment), attachment)
    for (const { address } of attachment.addresses) taken.set(bare(address), keyOf(attachment))
  }
  const forget = (attachment: Attachment) => {
    attachments.delete(keyOf(attachment))
    for (const { address } of attachment.addresses)
      if (taken.get(bare(address)) === keyOf(attachment)) taken.delete(bare(address))
  }
  const readOne = async (name: string) => {
    const attachment = parseAttachment(await readFile(join(dir, name), 'utf8'))
    if (attachment?.bootId === bootId) hold(attachment)
    else await rm(join(dir, name), { force: true })
  }
  for (const name of await readdir(dir)) {
    if (isIP(name) !== 0) await readOne(name)
    else if (name.startsWith('.new-')) await rm(join(dir, name), { force: true })
    else if (name.startsWith('last_reserved_ip.'))
      last.set(Number(name.slice(17)), (await readFile(join(dir, name), 'utf8')).trim())
  }

  const writeAside = async (text: string): Promise<string> => {
    written += 1
    const aside = join(dir, `.new-${process.pid}-${written}`)
    await writeFile(aside, text, { mode: 0o600 })
    return aside
  }
  const choose = (sets: readonly RangeSet[], key: AttachmentKey): readonly PodAddress[] =>
    sets.map((set, i) => {
      const chosen = nextAddress(set, text => taken.has(text), parseAddress(last.get(i) ?? ''))
      if (chosen === undefined)
        throw new Fault('address-range', `network ${network}: no free address is left in its ranges`, {
          object: `container ${key.containerId}`,
        })
      const { family, value } = chosen.ip
      last.set(i, formatAddress({ family, value }))
      const gateway = formatAddress({ family, value: chosen.range.gateway })
      return { address: `${formatAddress({ family, value })}/${chosen.range.subnet.length}`, gateway }
    })
  const putOnDisk = async (attachment: Attachment) => {
    const aside = await writeAside(JSON.stringify(attachment))
    try {
      for (const { address } of attachment.addresses) await link(aside, join(dir, bare(address)))
    } finally {
      await rm(aside, { force: true })
    }
    for (const [i, { address }] of attachment.addresses.entries()) {
      // A torn or lost value costs nothing but the order of reuse.
      await rename(await writeAside(`${bare(address)}\n`), join(dir, lastFile(i)))
    }
  }
  const release = async (key: AttachmentKey) => {
    const attachment = attachments.get(keyOf(key))
    if (attachment === undefined) return
    for (const { address } of attachment.addresses)
      if (taken.get(bare(address)) === keyOf(key)) await rm(join(dir, bare(address)), { force: true })
    forget(attachment)
  }
  const reserve: Store['reserve'] = async (wanted, sets) => {
    if (attachments.has(keyOf(wanted)))
      throw new CniFault(
        cniCodes.duplicate,
        'already-exists',
        `container ${wanted.containerId} has an interface ${wanted.ifname} in network ${network} already`,
      )
    const attachment: Attachment = { ...wanted, network, bootId, at: clock.now(), addresses: choose(sets, wanted) }
    hold(attachment)
    try {
      await putOnDisk(attachment)
      return attachment
    } catch (error) {
      // A file that we do not know stands under the address, and stays: its owner is read, ours is forgotten.
      const foreign = isCode(error, 'EEXIST')
      const mine = await Promise.all(attachment.addresses.map(({ address }) => isOurs(join(dir, bare(address)), attachment)))
      forget(attachment)
      for (const [i, { address }] of attachment.addresses.entries())
        if (mine[i] === true) await rm(join(dir, bare(address)), { force: true })
        else if (foreign) await readOne(bare(address)).catch(() => taken.set(bare(address), 'unreadable'))
      if (foreign) return reserve(wanted, sets)
      throw new Fault('io', `network ${network}: an allocation could not be written to ${dir}`, { cause: error })
    }
  }
  return {
    all: () => [...attachments.values()],
    find: key => attachments.get(keyOf(key)),
    hasRoom: sets => sets.every(set => nextAddress(set, text => taken.has(text)) !== undefined),
    reserve,
    release,
  }
}

const isOurs = async (file: string, { containerId, ifname }: Attachment): Promise<boolean> => {
  const found = parseAttachment(await readFile(file, 'utf8').catch(() => ''))
  return found?.containerId === containerId && found.ifname === ifname
}
