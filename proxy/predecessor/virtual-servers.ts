// What a kube-proxy in IPVS mode, or our own IPVS mode, leaves besides chains: virtual servers, the device that bears their addresses, sets.
// Virtual servers of other software stay: kube-proxy's are those on its device, and those of a port that its sets call a node port.
import type { Exec } from '../../host/exec.ts'
import { createIpsets, type Ipsets } from '../../host/ipset.ts'
import { createIpvs, serverName } from '../../host/ipvs.ts'
import { createLink } from '../../host/link.ts'
import { cleanupIpvs } from '../ipvs/cleanup.ts'
import { readAddresses } from '../ipvs/standing.ts'
import { device, families, foreignSets, setIds, setName } from '../ipvs/words.ts'

/** Ports of `30080`, `30080-30082` and `192.0.2.1,sctp:30080`. */
export const portsOf = (entries: readonly string[]): readonly number[] =>
  entries.flatMap(entry => {
    const [, first = '', last = first] = /(\d+)(?:-(\d+))?$/.exec(entry.split(/[,:]/).at(-1) ?? '') ?? []
    const from = Number(first)
    return first === '' ? [] : Array.from({ length: Number(last) - from + 1 }, (_, index) => from + index)
  })

const removeServers = async (exec: Pick<Exec, 'try'>, addresses: ReadonlySet<string>, ports: ReadonlySet<number>) => {
  const ipvs = createIpvs(exec)
  const gone = (await ipvs.list()).filter(({ key }) => 'ip' in key && (addresses.has(key.ip) || ports.has(key.port)))
  await ipvs.restore(gone.map(({ key }) => `-D ${serverName(key)}`))
  return gone.length
}

const nodePorts = async (ipsets: Ipsets, names: readonly string[]): Promise<ReadonlySet<number>> => {
  const ports = new Set<number>()
  for (const name of names.filter(one => one.includes('NODE-PORT')))
    for (const port of portsOf(await ipsets.entries(name))) ports.add(port)
  return ports
}

/**
 * Removes them; the rules that look into the sets must be gone.
 * @returns what was removed, as a person would read it
 */
export const removeVirtualServers = async ({ exec }: { readonly exec: Pick<Exec, 'try'> }): Promise<readonly string[]> => {
  const link = createLink(exec)
  const bound = await Promise.all(families.map(({ family }) => readAddresses(link, family)))
  if (!bound.some(({ hasDevice }) => hasDevice)) return []
  const own = await cleanupIpvs(exec)
  if (own.length > 0) return own
  const ipsets = createIpsets(exec)
  const known = families.flatMap(({ family }) => [...setIds.map(id => setName(id, family)), ...foreignSets(family)])
  const names = (await ipsets.headers().catch(() => [])).map(({ name }) => name).filter(name => known.includes(name))
  const addresses = new Set(bound.flatMap(one => [...one.bound]))
  const servers = await removeServers(exec, addresses, await nodePorts(ipsets, names))
  await link.batch([`link del ${device}`])
  for (const name of names) await ipsets.restore([`destroy ${name}`])
  return [`${servers} virtual servers`, `device ${device}`, `${names.length} ipsets`]
}
