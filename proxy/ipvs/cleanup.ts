// The way out of the IPVS mode: takes away what this program made, and nothing of a kube-proxy or of other software that uses IPVS.
// What is ours is known by the sets: one of them no other program makes, and together they have every frontend.
import type { Exec } from '../../host/exec.ts'
import { createIpsets, type Ipsets } from '../../host/ipset.ts'
import { openIptables } from '../../host/iptables.ts'
import { createIpvs, type ServerKey, serverName } from '../../host/ipvs.ts'
import { createLink } from '../../host/link.ts'
import { jumpComment } from '../iptables/skeleton.ts'
import { defaultSettings } from '../settings.ts'
import { createMarks } from './marks.ts'
import { readStanding, replacement, type Standing } from './rules.ts'
import { readAddresses } from './standing.ts'
import { device, families, frontendSets, type IpvsTable, type IpvsWords, setIds, setName, tables } from './words.ts'

const keyOf = (key: Extract<ServerKey, { ip: string }>): string => `${key.ip},${key.protocol.toLowerCase()}:${key.port}`

const removeRules = async (exec: Pick<Exec, 'try'>, { iptables: { command } }: IpvsWords): Promise<void> => {
  const iptables = await openIptables(exec, command)
  const standing = {} as Record<IpvsTable, Standing>
  for (const table of tables) {
    const { chains, jumps } = readStanding(await iptables.save(table))
    const ours = jumps.filter(rule => rule.includes(`"${jumpComment}"`))
    // Chains that a kube-proxy leads to as well are its own by now.
    standing[table] = { jumps: ours, chains: ours.length < jumps.length ? [] : chains }
  }
  const text = replacement(standing, [])
  if (text !== '') await iptables.restore(text)
}

const removeServers = async (exec: Pick<Exec, 'try'>, ipsets: Ipsets): Promise<number> => {
  const ipvs = createIpvs(exec)
  const { covers } = createMarks(defaultSettings.masqueradeBit)
  const ours = new Set<string>()
  for (const { family } of families)
    for (const id of frontendSets) for (const entry of await ipsets.entries(setName(id, family))) ours.add(entry)
  const gone = (await ipvs.list()).filter(({ key }) => ('mark' in key ? covers(key.mark) : ours.has(keyOf(key))))
  await ipvs.restore(gone.map(({ key }) => `-D ${serverName(key)}`))
  return gone.length
}

/**
 * Removes what the IPVS mode of this program has made: rules, virtual servers, sets, the device. A host without ipset has none.
 * @returns what was removed, as a person would read it
 */
export const cleanupIpvs = async (exec: Pick<Exec, 'try'>): Promise<readonly string[]> => {
  const ipsets = createIpsets(exec)
  const there = new Set((await ipsets.headers().catch(() => [])).map(({ name }) => name))
  const used = families.filter(({ family }) => there.has(setName('inside', family)))
  if (used.length === 0) return []
  for (const words of used) await removeRules(exec, words).catch(() => undefined)
  const servers = await removeServers(exec, ipsets)
  const gone = used.flatMap(({ family }) => setIds.map(id => setName(id, family))).filter(name => there.has(name))
  for (const name of gone) await ipsets.restore([`destroy ${name}`])
  const link = createLink(exec)
  const { hasDevice } = await readAddresses(link, 'IPv4')
  if (hasDevice) await link.batch([`link del ${device}`])
  return [`${servers} virtual servers`, `${gone.length} ipsets`, ...(hasDevice ? [`device ${device}`] : [])]
}
