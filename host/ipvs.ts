// ipvsadm(8): the kernel's virtual servers, changed by one process per change set (`ipvsadm -R`) and listed as values.
// Whoever owns virtual servers compiles the commands elsewhere; nobody but this file starts ipvsadm or reads what it prints.
// `ipvsadm -R` is no transaction: it goes on after a line that the kernel refuses, and flushes nothing.
import type { Exec, RunResult } from './exec.ts'
import { Fault } from './fault.ts'

export type IpvsFamily = 'IPv4' | 'IPv6'
export type IpvsProtocol = 'TCP' | 'UDP' | 'SCTP'

/** What a virtual server is found by: an address, protocol and port, or a mark of the packet. */
export type ServerKey =
  | { readonly family: IpvsFamily; readonly ip: string; readonly protocol: IpvsProtocol; readonly port: number }
  | { readonly family: IpvsFamily; readonly mark: number }

export interface ServerOptions {
  readonly scheduler: string
  /** How long a client stays with its destination; 0 when it does not. */
  readonly persistentSeconds: number
  /** Flags of the scheduler as ipvsadm names them: `mh-port`; '' for none. */
  readonly flags: string
}

export interface VirtualServer extends ServerOptions {
  readonly key: ServerKey
  /** Weights by `address:port`; one of weight 0 gets no new connections. */
  readonly destinations: ReadonlyMap<string, number>
}

export interface Ipvs {
  /**
   * Carries out commands, a line each, in one process: `-A -t 10.96.0.1:80 -s rr`.
   * @throws Fault `kernel-refused` when any of them was refused; the others have taken effect
   */
  restore(commands: readonly string[]): Promise<void>
  /** All virtual servers of both families. @throws Fault `kernel-refused` */
  list(): Promise<readonly VirtualServer[]>
  /**
   * How many connections each destination has, ended ones that are still remembered too: by `serverName(key)`, then by `address:port`.
   * @throws Fault `kernel-refused`
   */
  connections(): Promise<ReadonlyMap<string, ReadonlyMap<string, number>>>
  /**
   * Finds out whether the kernel has IPVS and a scheduler (loading what is a module), by a virtual server that no packet leads to.
   * @throws Fault `unsupported` with what was said
   */
  probe(options: Pick<ServerOptions, 'scheduler' | 'flags'>): Promise<void>
  /** Sets timeouts in seconds; 0 leaves one as it is. @throws Fault `kernel-refused` */
  setTimeouts(tcp: number, tcpFin: number, udp: number): Promise<void>
}

// The last mark but one: nobody's.
const probeServer: ServerKey = { family: 'IPv4', mark: 0xffff_fffe }

const timeoutMs = 60_000
const serviceOption = { TCP: '-t', UDP: '-u', SCTP: '--sctp-service' } as const satisfies Record<IpvsProtocol, string>
const protocolOf: Readonly<Record<string, IpvsProtocol>> = { '-t': 'TCP', '-u': 'UDP', '--sctp-service': 'SCTP' }

/** An address and port as ipvsadm takes and prints them: `10.0.0.1:80`, `[fd00::1]:80`. */
export const withPort = (ip: string, port: number): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`)

/** The words of ipvsadm that name a virtual server: `-t 10.0.0.1:80`, `-f 8193 -6`. */
export const serverName = (key: ServerKey): string =>
  'mark' in key
    ? `-f ${key.mark}${key.family === 'IPv6' ? ' -6' : ''}`
    : `${serviceOption[key.protocol]} ${withPort(key.ip, key.port)}`

/** The words that follow the name in `-A` and `-E`. */
export const optionWords = ({ scheduler, persistentSeconds, flags }: ServerOptions): string =>
  `-s ${scheduler}${persistentSeconds === 0 ? '' : ` -p ${persistentSeconds}`}${flags === '' ? '' : ` -b ${flags}`}`

const splitPort = (text: string): readonly [string, number] => {
  const at = text.lastIndexOf(':')
  return [text.slice(0, at).replace(/^\[|\]$/g, ''), Number(text.slice(at + 1))]
}

const toKey = (option: string, value: string, isV6: boolean): ServerKey => {
  if (option === '-f') return { family: isV6 ? 'IPv6' : 'IPv4', mark: Number(value) }
  const [ip, port] = splitPort(value)
  return { family: ip.includes(':') ? 'IPv6' : 'IPv4', ip, protocol: protocolOf[option]!, port }
}

const savedServer = /^-A (-t|-u|-f|--sctp-service) (\S+)( -6)?/
const savedDestination = / -r (\S+) .*-w (\d+)/

/** Reads what `ipvsadm -S -n` prints: each virtual server, its destinations right behind it. */
export const parseServers = (saved: string): readonly VirtualServer[] => {
  const servers: VirtualServer[] = []
  let destinations = new Map<string, number>()
  for (const line of saved.split('\n')) {
    if (line.startsWith('-a ')) {
      const [, to, weight] = savedDestination.exec(line) ?? []
      if (to !== undefined) destinations.set(to, Number(weight))
      continue
    }
    destinations = new Map()
    const [, option, value = '', v6] = savedServer.exec(line) ?? []
    if (option === undefined) continue
    servers.push({
      key: toKey(option, value, v6 !== undefined),
      scheduler: / -s (\S+)/.exec(line)?.[1] ?? '',
      persistentSeconds: Number(/ -p (\d+)/.exec(line)?.[1] ?? 0),
      flags: / -b (\S+)/.exec(line)?.[1] ?? '',
      destinations,
    })
  }
  return servers
}

const listedProtocol: Readonly<Record<string, string>> = { TCP: '-t', UDP: '-u', SCTP: '--sctp-service', FWM: '-f' }

/** Reads what `ipvsadm -L -n` prints: connections, active and inactive, of every destination. */
export const parseConnections = (listed: string): ReadonlyMap<string, ReadonlyMap<string, number>> => {
  const counts = new Map<string, Map<string, number>>()
  let destinations = new Map<string, number>()
  for (const line of listed.split('\n')) {
    const words = line.trim().split(/\s+/)
    const [first = '', second = ''] = words
    const option = listedProtocol[first]
    if (option !== undefined) {
      destinations = new Map()
      counts.set(serverName(toKey(option, second, words[2] === 'IPv6')), destinations)
    } else if (first === '->' && /:\d+$/.test(second)) {
      const [active = 0, inactive = 0] = words.slice(-2).map(Number)
      destinations.set(second, active + inactive)
    }
  }
  return counts
}

const refuse = ({ exitCode, stderr }: RunResult, doing: string): never => {
  const said = stderr.trim().split('\n').slice(0, 12).join('\n').slice(0, 2_000)
  throw new Fault('kernel-refused', `ipvsadm did not ${doing}: ${said || `exit code ${exitCode}`}`)
}

/** Talks to ipvsadm through the given exec. */
export const createIpvs = (exec: Pick<Exec, 'try'>): Ipvs => {
  const list = async (args: readonly string[]): Promise<string> => {
    const result = await exec.try(['ipvsadm', ...args], { timeoutMs })
    return result.exitCode === 0 ? result.stdout : refuse(result, 'list virtual servers')
  }
  return {
    restore: async commands => {
      if (commands.length === 0) return
      const result = await exec.try(['ipvsadm', '-R'], { input: `${commands.join('\n')}\n`, timeoutMs })
      // Its exit code is that of the last line; a refusal before that is only told on stderr.
      if (result.exitCode !== 0 || result.stderr.trim() !== '') refuse(result, 'carry out a change')
    },
    probe: async options => {
      const name = serverName(probeServer)
      const words = ['-A', ...`${name} ${optionWords({ ...options, persistentSeconds: 0 })}`.split(' ')]
      const { exitCode, stderr } = await exec.try(['ipvsadm', ...words])
      const left = stderr.includes('already exists')
      if (exitCode !== 0 && !left)
        throw new Fault('unsupported', `ipvsadm: ${stderr.trim().replaceAll('\n', '; ')}`, { retry: 'never' })
      await exec.try(['ipvsadm', '-D', ...name.split(' ')])
    },
    setTimeouts: async (...seconds) => {
      const result = await exec.try(['ipvsadm', '--set', ...seconds.map(String)])
      if (result.exitCode !== 0) refuse(result, 'set timeouts')
    },
    list: async () => parseServers(await list(['-S', '-n'])),
    connections: async () => parseConnections(await list(['-L', '-n'])),
  }
}
