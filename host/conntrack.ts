// The kernel's connection tracking, through conntrack(8): list flows of one protocol, remove flows that are named one by one.
// Whoever asks decides which flows those are; nothing is ever removed by a pattern, so no flow of other software can be hit.
import type { Exec } from './exec.ts'
import { Fault } from './fault.ts'

export type FlowFamily = 'IPv4' | 'IPv6'
export type FlowProtocol = 'TCP' | 'UDP' | 'SCTP'

/** A tracked flow: what the client sent, and who answers in truth. */
export interface Flow {
  readonly family: FlowFamily
  readonly protocol: FlowProtocol
  readonly from: string
  readonly fromPort: number
  /** Where the client sent it. */
  readonly to: string
  readonly toPort: number
  /** Where it went: another address than `to` where it was translated. */
  readonly answeredBy: string
  readonly answeredByPort: number
}

/** Which flows of a protocol. */
export interface Only {
  /** Sent to this port. */
  readonly toPort?: number
  /** Of TCP: nobody has answered the first packet yet. */
  readonly unanswered?: true
}

export interface Conntrack {
  /**
   * All flows of one protocol, or some of them.
   * @throws Fault `command` when conntrack cannot be run
   */
  list(family: FlowFamily, protocol: FlowProtocol, only?: Only): Promise<readonly Flow[]>
  /** Removes these flows by one process; those that have ended meanwhile do not matter. @throws Fault `command` */
  remove(flows: readonly Flow[]): Promise<void>
}

/** Which flows are looked for: '' stands for every address. */
export interface FlowTarget {
  readonly family: FlowFamily
  readonly protocol: FlowProtocol
  readonly from: string
  readonly to: string
  readonly toPort: number
}

export interface FlowFinder {
  /**
   * Flows that were sent to an address and port, `most` of them at most, however many there are.
   * @throws Fault `command` when conntrack cannot be run
   */
  find(target: FlowTarget, most: number): Promise<readonly Flow[]>
}

const familyName = { IPv4: 'ipv4', IPv6: 'ipv6' } as const

const line =
  /src=(?<from>\S+) dst=(?<to>\S+) sport=(?<fromPort>\d+) dport=(?<toPort>\d+).*? src=(?<answeredBy>\S+) dst=\S+ sport=(?<answeredByPort>\d+) dport=\d+/

/** Reads one line of `conntrack -L`; undefined when it is no flow with ports. */
export const parseFlow = (text: string, family: FlowFamily, protocol: FlowProtocol): Flow | undefined => {
  const found = line.exec(text)?.groups
  if (found === undefined) return undefined
  const { from = '', to = '', fromPort, toPort, answeredBy = '', answeredByPort } = found
  return {
    family,
    protocol,
    from,
    fromPort: Number(fromPort),
    to,
    toPort: Number(toPort),
    answeredBy,
    answeredByPort: Number(answeredByPort),
  }
}

const toRemoval = ({ family, protocol, from, fromPort, to, toPort }: Flow): string =>
  `-D -f ${familyName[family]} -p ${protocol.toLowerCase()} -s ${from} -d ${to} --sport ${fromPort} --dport ${toPort}`

/** Talks to conntrack through the given exec. */
export const createConntrack = (exec: Pick<Exec, 'try'>): Conntrack => ({
  list: async (family, protocol, { toPort, unanswered } = {}) => {
    const port = toPort === undefined ? [] : ['--orig-port-dst', String(toPort)]
    const state = unanswered ? ['--state', 'SYN_SENT'] : []
    const argv = ['conntrack', '-L', '-f', familyName[family], '-p', protocol.toLowerCase(), ...port, ...state]
    const { exitCode, stdout, stderr } = await exec.try(argv)
    if (exitCode !== 0) throw new Fault('command', `${argv.join(' ')}: ${stderr.trim()}`)
    return stdout.split('\n').flatMap(text => parseFlow(text, family, protocol) ?? [])
  },
  remove: async flows => {
    if (flows.length === 0) return
    // A batch of removals; a line that finds nothing does not stop the next one (tried with conntrack-tools 1.4.7).
    const input = `${flows.map(toRemoval).join('\n')}\n`
    const { exitCode, stderr } = await exec.try(['conntrack', '-R', '/proc/self/fd/0'], { input })
    if (exitCode !== 0) throw new Fault('command', `conntrack -R: ${stderr.trim()}`)
  },
})

/** Looks for single flows, and stops looking when there are enough. */
export const createFlowFinder = (exec: Pick<Exec, 'watch'>): FlowFinder => ({
  find: async ({ family, protocol, from, to, toPort }, most) => {
    const flows: Flow[] = []
    const given = [from === '' ? [] : ['--orig-src', from], to === '' ? [] : ['--orig-dst', to]].flat()
    const argv = ['conntrack', '-L', '-f', familyName[family], '-p', protocol.toLowerCase(), ...given]
    const looking = exec.watch([...argv, '--orig-port-dst', String(toPort)], text => {
      const flow = flows.length < most ? parseFlow(text, family, protocol) : undefined
      if (flow !== undefined) flows.push(flow)
      if (flows.length === most) looking.stop()
    })
    const { exitCode, stderr } = await looking.ended
    if (exitCode !== 0 && flows.length < most) throw new Fault('command', `${argv.join(' ')}: ${stderr.trim()}`)
    return flows
  },
})
