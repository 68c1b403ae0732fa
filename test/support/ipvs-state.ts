// What a kernel, or a machine in memory, holds of the IPVS mode, as values that two can be compared by. Marks are numbers that come as they are needed: a
// server that is found by one is named by the keys that get it, and one that only waits for its last connections is none.
import type { Exec } from '../../host/exec.ts'
import { createIpvs, optionWords, serverName } from '../../host/ipvs.ts'

type Words = readonly string[]

/** The sets' names, and their members: set, key, and what goes with it. */
const readSets = async (exec: Pick<Exec, 'run'>) => {
  const saved = (await exec.run(['ipset', 'save'])).stdout.split('\n').map((line): Words => line.split(' '))
  const after = (verb: string) => saved.filter(([first]) => first === verb).map(([, ...rest]): Words => rest)
  return { names: after('create').map(([name = '']) => name), members: after('add') }
}

/** The keys that lead to a server by a mark, by that server's name. */
const keysByMark = (members: readonly Words[]): ReadonlyMap<string, string> => {
  const found = new Map<string, string[]>()
  for (const [name = '', key = '', , mark = ''] of members.filter(([name]) => name?.endsWith('-INSIDE'))) {
    const server = `-f ${Number(mark.split('/')[0])}${name.startsWith('KUBE-6-') ? ' -6' : ''}`
    found.set(server, [...(found.get(server) ?? []), key])
  }
  return new Map([...found].map(([server, keys]) => [server, keys.sort().join(' ')]))
}

interface Shown {
  readonly ifname: string
  readonly addr_info: readonly { readonly local: string }[]
}

/** Asks by the programs that `exec` runs. */
export const ipvsStateOf = async (exec: Pick<Exec, 'run' | 'try'>) => {
  const { names, members } = await readSets(exec)
  const byMark = keysByMark(members)
  const links = JSON.parse((await exec.run(['ip', '-j', 'addr', 'show'])).stdout) as readonly Shown[]
  const device = links.find(({ ifname }) => ifname === 'kube-ipvs0')
  const servers = (await createIpvs(exec).list()).map(({ key, destinations, ...options }) => ({
    name: byMark.get(serverName(key)) ?? serverName(key),
    options: optionWords(options),
    to: [...destinations].filter(([, weight]) => weight > 0).sort(),
  }))
  return {
    servers: servers.filter(({ to }) => to.length > 0).sort((a, b) => (a.name < b.name ? -1 : 1)),
    sets: names.sort(),
    members: members.map(words => words.map(word => word.replace(/^0x.*/, 'a mark')).join(' ')).sort(),
    addresses: device?.addr_info.map(({ local }) => local).sort(),
  }
}
