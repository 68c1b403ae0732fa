// What a kernel holds of the IPVS mode, as values that two kernels can be compared by. Marks are numbers that come as they are needed: a
// server that is found by one is named by the keys that get it, and one that only waits for its last connections is none.
import type { Exec } from '../../host/exec.ts'
import { createIpvs, optionWords, serverName } from '../../host/ipvs.ts'

const membersOf = async (exec: Exec): Promise<readonly (readonly string[])[]> =>
  (await exec.run(['ipset', 'save'])).stdout
    .split('\n')
    .filter(line => line.startsWith('add '))
    .map(line => line.split(' ').slice(1))

/** The keys that lead to a server by a mark, by that server's name. */
const keysByMark = (members: readonly (readonly string[])[]): ReadonlyMap<string, string> => {
  const found = new Map<string, string[]>()
  for (const [name = '', key = '', , mark = ''] of members.filter(([name]) => name?.endsWith('-INSIDE'))) {
    const server = `-f ${Number(mark.split('/')[0])}${name.startsWith('KUBE-6-') ? ' -6' : ''}`
    found.set(server, [...(found.get(server) ?? []), key])
  }
  return new Map([...found].map(([server, keys]) => [server, keys.sort().join(' ')]))
}

interface Shown {
  readonly addr_info: readonly { readonly local: string }[]
}

/** Asks the kernel of the namespace in which `exec` runs its programs. */
export const ipvsStateOf = async (exec: Exec) => {
  const members = await membersOf(exec)
  const byMark = keysByMark(members)
  const [device] = JSON.parse((await exec.run(['ip', '-j', 'addr', 'show', 'dev', 'kube-ipvs0'])).stdout) as [Shown]
  const servers = (await createIpvs(exec).list()).map(({ key, destinations, ...options }) => ({
    name: byMark.get(serverName(key)) ?? serverName(key),
    options: optionWords(options),
    to: [...destinations].filter(([, weight]) => weight > 0).sort(),
  }))
  return {
    servers: servers.filter(({ to }) => to.length > 0).sort((a, b) => (a.name < b.name ? -1 : 1)),
    members: members.map(words => words.map(word => word.replace(/^0x.*/, 'a mark')).join(' ')).sort(),
    addresses: device.addr_info.map(({ local }) => local).sort(),
  }
}
