// A machine in memory whose ipvsadm, ipset, iptables, ip and sysctl work: takes the text that this folder compiles line by line, as the
// real programs do, and walks packets through it. Knows only the words that we use; any other one fails, so that a test cannot pass by
// being misunderstood.
import type { Exec, RunOptions, RunResult } from '../../host/exec.ts'
import { Fault } from '../../host/fault.ts'
import { createPacketWalk, type FakeServer, type FakeSet, type FakeTables, type PacketWalk } from './walk.fake.ts'
import { tables } from './words.ts'

export interface Machine {
  readonly exec: Pick<Exec, 'try' | 'run' | 'watch'>
  readonly servers: Map<string, FakeServer>
  readonly sets: Map<string, FakeSet>
  readonly iptables: Readonly<Record<'iptables' | 'ip6tables', FakeTables>>
  /** Addresses by device. */
  readonly devices: Map<string, Set<string>>
  /** Every program that ran, with its input. */
  readonly ran: { readonly argv: readonly string[]; readonly input: string }[]
  /** Programs that are not installed. */
  readonly absent: Set<string>
  /** Makes a program fail the next `times` it runs. */
  refuse(program: string, times: number): void
  readonly walk: PacketWalk
}

const refusal = (stderr: string): RunResult => ({ exitCode: 1, stdout: '', stderr })
const done = (stdout = ''): RunResult => ({ exitCode: 0, stdout, stderr: '' })

class Refused extends Error {}
const fail = (why: string, line: string): never => {
  throw new Refused(`${why}: ${line}`)
}

const builtIn: Readonly<Record<string, readonly string[]>> = {
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
}
const emptyTables = (): FakeTables =>
  Object.fromEntries(tables.map(table => [table, new Map(builtIn[table]!.map(name => [name, [] as string[]]))]))

const nameAndRest = (words: readonly string[]): readonly [string, readonly string[]] => {
  const [option = '', value = '', ...rest] = words
  const isV6 = option === '-f' && rest[0] === '-6'
  return [`${option} ${value}${isV6 ? ' -6' : ''}`, isV6 ? rest.slice(1) : rest]
}

const ipvsLine = (servers: Map<string, FakeServer>, line: string): void => {
  const [verb, ...words] = line.split(' ')
  const [name, rest] = nameAndRest(words)
  const there = servers.get(name)
  const [, to = '', , , weight = '1'] = rest
  if (verb === '-A') {
    if (there !== undefined) fail('Service already exists', line)
    servers.set(name, { options: rest.join(' '), destinations: new Map(), connections: new Map() })
    return
  }
  const server = there ?? fail('No such service', line)
  if (verb === '-E') server.options = rest.join(' ')
  else if (verb === '-D') servers.delete(name)
  else if (verb === '-a') {
    if (server.destinations.has(to)) fail('Destination already exists', line)
    server.destinations.set(to, Number(weight))
  } else if (!server.destinations.has(to)) fail('No such destination', line)
  else if (verb === '-e') server.destinations.set(to, Number(weight))
  else if (verb === '-d') server.destinations.delete(to)
  else fail('unknown command', line)
}

const listed: Readonly<Record<string, string>> = { '-t': 'TCP', '-u': 'UDP', '--sctp-service': 'SCTP', '-f': 'FWM' }

const runIpvsadm = ({ servers }: Machine, args: readonly string[], input: string): RunResult => {
  const [first = ''] = args
  if (first === '-S')
    return done(
      [...servers]
        .flatMap(([name, { options, destinations }]) => [
          `-A ${name} ${options}`,
          ...[...destinations].map(([to, weight]) => `-a ${name} -r ${to} -m -w ${weight}`),
        ])
        .join('\n'),
    )
  if (first === '-L')
    return done(
      [...servers]
        .flatMap(([name, { destinations, connections }]) => {
          const [option = '', value = '', v6] = name.split(' ')
          return [
            `${listed[option]}  ${value}${v6 === undefined ? '' : ' IPv6'} rr`,
            ...[...destinations].map(([to, weight]) => `  -> ${to} Masq ${weight} ${connections.get(to) ?? 0} 0`),
          ]
        })
        .join('\n'),
    )
  if (first === '--set') return done()
  const said: string[] = []
  // As the real one: goes on after a line that fails, and its exit code is the last line's.
  let exitCode = 0
  for (const line of first === '-R' ? input.split('\n').filter(Boolean) : [args.join(' ')])
    try {
      ipvsLine(servers, line)
      exitCode = 0
    } catch (error) {
      said.push((error as Error).message)
      exitCode = 255
    }
  return { exitCode, stdout: '', stderr: said.join('\n') }
}

const ipsetLine = (sets: Map<string, FakeSet>, line: string): void => {
  const [verb, name = '', ...rest] = line.split(' ')
  if (name.length > 31) fail('setname is longer than 31 characters', line)
  if (verb === 'create') {
    const [type = '', , family = ''] = rest
    const there = sets.get(name)
    if (there !== undefined && there.type !== type) fail('set exists with another type', line)
    if (there === undefined) sets.set(name, { type, family, entries: new Map() })
    return
  }
  const set = sets.get(name) ?? fail('The set with the given name does not exist', line)
  if (verb === 'add') set.entries.set(rest[0]!, rest.slice(1).join(' '))
  else if (verb === 'del') set.entries.delete(rest[0]!)
  else if (verb === 'flush') set.entries.clear()
  else if (verb === 'destroy') sets.delete(name)
  else if (verb === 'swap') {
    const other = sets.get(rest[0]!) ?? fail('The set with the given name does not exist', line)
    if (other.type !== set.type) fail('The sets cannot be swapped', line)
    ;[set.entries, other.entries] = [other.entries, set.entries]
  } else fail('unknown command', line)
}

const runIpset = ({ sets }: Machine, args: readonly string[], input: string): RunResult => {
  const [first = '', second = ''] = args
  if (first === '-exist') {
    for (const line of input.split('\n').filter(Boolean)) ipsetLine(sets, line)
    return done()
  }
  if (first === 'list')
    return done(
      [...sets]
        .map(([name, { type, entries }]) => `Name: ${name}\nType: ${type}\nNumber of entries: ${entries.size}\n`)
        .join('\n'),
    )
  if (first === '-quiet') return sets.get(args[2]!)?.entries.has(args[3]!) ? done() : refusal('')
  const membersOf = (name: string, { entries }: FakeSet) =>
    [...entries].map(([key, options]) => `add ${name} ${key}${options && ` ${options}`}`)
  if (second === '')
    return done(
      [...sets].flatMap(([name, set]) => [`create ${name} ${set.type} family ${set.family}`, ...membersOf(name, set)]).join('\n'),
    )
  const set = sets.get(second)
  if (set === undefined) return refusal(`ipset: The set with the given name does not exist`)
  return done(membersOf(second, set).join('\n'))
}

const restoreTable = (
  chains: Map<string, string[]>,
  lines: readonly string[],
  sets: ReadonlyMap<string, FakeSet>,
): Map<string, string[]> => {
  const next = new Map([...chains].map(([name, rules]) => [name, [...rules]]))
  const at = (name: string, line: string) => next.get(name) ?? fail('no such chain', line)
  for (const line of lines) {
    const [, verb = '', name = '', rule = ''] = /^(:|-[AIDX] )(\S+) ?(.*)$/.exec(line) ?? fail('syntax error', line)
    for (const [, set = ''] of rule.matchAll(/--(?:match|map)-set (\S+)/g))
      if (!sets.has(set)) fail(`Set ${set} doesn't exist`, line)
    if (verb === ':') next.set(name, [])
    else if (verb === '-A ') at(name, line).push(rule)
    else if (verb === '-I ') at(name, line).unshift(rule)
    else if (verb === '-D ') {
      const found = at(name, line).indexOf(rule)
      if (found < 0) fail('no such rule', line)
      at(name, line).splice(found, 1)
    } else {
      if (at(name, line).length > 0) fail('chain is not empty', line)
      for (const rules of next.values()) if (rules.some(one => one.endsWith(`-j ${name}`))) fail('chain is in use', line)
      next.delete(name)
    }
  }
  return next
}

const runIptables = ({ iptables, sets }: Machine, program: string, args: readonly string[], input: string): RunResult => {
  if (args[0] === '--version') return done(`${program} v1.8.9 (nf_tables)`)
  const [, command = '', verb] = /^(ip6?tables)-(save|restore)$/.exec(program) ?? fail('unknown program', program)
  const all = iptables[command as 'iptables']
  if (verb === 'save') {
    const chains = all[args[1]!]!
    const names = [...chains.keys()].map(name => `:${name} ${builtIn[args[1]!]!.includes(name) ? 'ACCEPT' : '-'} [0:0]`)
    return done([...names, ...[...chains].flatMap(([name, rules]) => rules.map(rule => `-A ${name} ${rule}`))].join('\n'))
  }
  for (const part of input.split('COMMIT\n').filter(Boolean)) {
    const [table = '', ...lines] = part.trim().split('\n')
    const chains = all[table.slice(1)]!
    const next = restoreTable(chains, lines, sets)
    chains.clear()
    for (const [name, rules] of next) chains.set(name, rules)
  }
  return done()
}

const runIp = ({ devices }: Machine, args: readonly string[], input: string): RunResult => {
  if (args.includes('show'))
    return done(
      JSON.stringify(
        [...devices].map(([ifname, addresses]) => ({
          ifname,
          addr_info: [...addresses].map(local => ({ family: local.includes(':') ? 'inet6' : 'inet', local, scope: 'global' })),
        })),
      ),
    )
  for (const line of input.split('\n').filter(Boolean)) {
    const [, added, address = '', device = ''] = /^addr (replace|del) (\S+)\/\d+ dev (\S+)( nodad)?$/.exec(line) ?? []
    const [, verb, link = ''] = /^link (add|del) (\S+)/.exec(line) ?? []
    if (verb === 'add') devices.set(link, new Set())
    else if (verb === 'del') devices.delete(link)
    else if (added === 'replace') devices.get(device)!.add(address)
    else if (added !== 'del' || !devices.get(device)!.delete(address)) fail('Command failed -:1', line)
  }
  return done()
}

/** A machine whose own devices have these addresses. */
export const createMachine = (own: readonly string[], random: () => number = Math.random): Machine => {
  const refusing = new Map<string, number>()
  const run = async (argv: readonly string[], { input = '' }: RunOptions = {}): Promise<RunResult> => {
    const [program = '', ...args] = argv
    machine.ran.push({ argv, input })
    if (machine.absent.has(program)) throw new Fault('command', `${program}: not installed`)
    const left = refusing.get(program) ?? 0
    if (left > 0) {
      refusing.set(program, left - 1)
      return refusal('told to refuse')
    }
    try {
      if (program === 'ipvsadm') return runIpvsadm(machine, args, input)
      if (program === 'ipset') return runIpset(machine, args, input)
      if (program === 'ip') return runIp(machine, args, input)
      if (program === 'sysctl') return done()
      return runIptables(machine, program, args, input)
    } catch (error) {
      if (error instanceof Refused) return refusal(error.message)
      throw error
    }
  }
  const servers = new Map<string, FakeServer>()
  const sets = new Map<string, FakeSet>()
  const iptables = { iptables: emptyTables(), ip6tables: emptyTables() }
  const devices = new Map([['eth0', new Set(own)]])
  const machine: Machine = {
    ...{ servers, sets, iptables, devices },
    exec: {
      try: run,
      run,
      watch: () => ({ ended: new Promise(() => undefined), stop: () => undefined }),
    },
    ran: [],
    absent: new Set(),
    refuse: (program, times) => refusing.set(program, times),
    walk: createPacketWalk({ servers, sets, iptables, devices, random }),
  }
  return machine
}
