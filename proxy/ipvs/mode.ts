// The IPVS mode put together: what this kernel and its tools lack, the backends, the watch, the kernel settings, and the way out.
// Follows kube-proxy's IPVS mode: conntrack of its own connections, destinations that are gone are forgotten at once.
import type { IPFamily } from '../../api/service-types.ts'
import { describe, Fault } from '../../host/fault.ts'
import { createIpsets, type Ipsets } from '../../host/ipset.ts'
import { type Iptables, openIptables } from '../../host/iptables.ts'
import { createIpvs, type Ipvs } from '../../host/ipvs.ts'
import { createLink, type Link } from '../../host/link.ts'
import { type ForeignChange, watchTables } from '../../host/nftmonitor.ts'
import type { Mode, ModeDeps } from '../mode.ts'
import { createIpvsBackend } from './backend.ts'
import { jumps } from './rules.ts'
import type { IpvsSettings } from './settings.ts'
import { readAddresses } from './standing.ts'
import { createIpvsWatch } from './watch.ts'
import { device, families, type IpvsWords, isIpvsChain } from './words.ts'

const probe = 'KUBE-PROBE'

// A chain that nothing leads to, with everything that our rules ask of the kernel; only it knows which of them it has.
const probeText = [
  '*mangle',
  `:${probe} - [0:0]`,
  `-A ${probe} -j SET --map-set ${probe} dst,dst --map-mark`,
  'COMMIT',
  '*nat',
  `:${probe} - [0:0]`,
  `-A ${probe} -m set --match-set ${probe} dst,dst -m addrtype --dst-type LOCAL -j MARK --or-mark 0x1`,
  `-A ${probe} -m conntrack --ctstate NEW -m comment --comment "nodelet" -m mark --mark 0x1/0x1 -j RETURN`,
  `:${probe}-OUT - [0:0]`,
  `-A ${probe}-OUT -m ipvs --ipvs -j MASQUERADE --random-fully`,
  'COMMIT',
  '',
].join('\n')
const unprobeText = `*mangle\n:${probe} - [0:0]\n-X ${probe}\nCOMMIT\n*nat\n:${probe} - [0:0]\n:${probe}-OUT - [0:0]\n-X ${probe}\n-X ${probe}-OUT\nCOMMIT\n`

interface Tools {
  readonly ipvs: Ipvs
  readonly ipsets: Ipsets
  readonly link: Link
}

const ensureDevice = async (link: Link): Promise<void> => {
  const { hasDevice } = await readAddresses(link, 'IPv4')
  if (!hasDevice) await link.batch([`link add ${device} type dummy`])
}

/** Whether sets and rules of a family are taken; leaves nothing. */
const probeRules = async ({ ipsets }: Tools, iptables: Iptables, family: IPFamily): Promise<void> => {
  const inet = family === 'IPv4' ? 'inet' : 'inet6'
  const others = ['hash:ip', 'hash:ip,port,ip', 'hash:ip,port,net'].map((type, at) => ({ name: `${probe}-${at}`, type }))
  await ipsets.restore([
    `create ${probe} hash:ip,port family ${inet} skbinfo`,
    ...others.flatMap(({ name, type }) => [`create ${name} ${type} family ${inet}`, `destroy ${name}`]),
  ])
  try {
    await iptables.restore(probeText)
  } finally {
    await iptables.restore(unprobeText).catch(() => undefined)
    await ipsets.restore([`destroy ${probe}`]).catch(() => undefined)
  }
}

interface Usable {
  readonly words: IpvsWords
  readonly iptables: Iptables
}

/** What keeps the mode from running, each with what said so; the families that can be routed where nothing does. */
const examine = async (tools: Tools, { exec, log, ipvs: settings }: IpvsModeDeps) => {
  const missing: string[] = []
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work()
      return true
    } catch (error) {
      missing.push(`${what} (${describe(error)})`)
      return false
    }
  }
  const scheduler = settings.scheduler || 'rr'
  const hasIpvs = await attempt('IPVS with the program ipvsadm', () => tools.ipvs.probe({ scheduler: 'rr', flags: '' }))
  if (hasIpvs && scheduler !== 'rr')
    await attempt(`the IPVS scheduler ${scheduler}`, () => tools.ipvs.probe({ scheduler, flags: '' }))
  await attempt('dummy devices', () => ensureDevice(tools.link))
  const usable: Usable[] = []
  const refusals: string[] = []
  for (const words of families)
    try {
      const iptables = await openIptables(exec, words.iptables.command)
      await probeRules(tools, iptables, words.family)
      usable.push({ words, iptables })
    } catch (error) {
      refusals.push(describe(error))
      if (missing.length === 0) log.warn({ err: error, family: words.family }, 'Services of this family cannot be routed here')
    }
  if (usable.length === 0) missing.push(`ipset and iptables with sets (${refusals[0]})`)
  return { missing, usable }
}

const sysctls = ['net.ipv4.vs.conntrack=1', 'net.ipv4.vs.expire_nodest_conn=1', 'net.ipv4.vs.expire_quiescent_template=1']
const arpSysctls = ['net.ipv4.conf.all.arp_ignore=1', 'net.ipv4.conf.all.arp_announce=2']

/** Settings of the network that our programs run in, by one of them. */
const prepare = async ({ ipvs }: Tools, { exec, log, ipvs: settings }: IpvsModeDeps): Promise<void> => {
  const wanted = [...sysctls, ...(settings.strictARP ? arpSysctls : [])]
  const { exitCode, stderr } = await exec.try(['sysctl', '-q', '-w', ...wanted])
  if (exitCode !== 0) throw new Fault('unsupported', `kernel settings that the IPVS mode needs: ${stderr.trim()}`)
  const timeouts = [settings.tcpTimeout, settings.tcpFinTimeout, settings.udpTimeout].map(ms => Math.ceil(ms / 1000))
  const [tcp = 0, tcpFin = 0, udp = 0] = timeouts
  if (tcp + tcpFin + udp === 0) return
  await ipvs
    .setTimeouts(tcp, tcpFin, udp)
    .catch(error => log.warn({ err: error }, 'timeouts of IPVS connections could not be set'))
}

export interface IpvsModeDeps extends ModeDeps {
  readonly ipvs: IpvsSettings
  /** Other modes, to find out which of them would work when this one does not. */
  readonly others: Readonly<Record<string, () => Promise<unknown>>>
}

const refuse = async (missing: readonly string[], others: IpvsModeDeps['others']): Promise<never> => {
  const working: string[] = []
  for (const [name, open] of Object.entries(others))
    await open().then(
      () => working.push(name),
      () => undefined,
    )
  const advice = working.length === 0 ? 'no other mode works here either' : `would work here: mode ${working.join(' or ')}`
  // Programs say it in several lines; a log has one.
  const lacks = missing.map(it => it.replaceAll(/\s*\n\s*/g, ' '))
  throw new Fault('unsupported', `the IPVS mode lacks ${lacks.join('; ')}; ${advice}`, { retry: 'never' })
}

const watched: Readonly<Record<string, string>> = {
  'ip mangle': 'mangle',
  'ip nat': 'nat',
  'ip filter': 'filter',
  'ip6 mangle': 'mangle',
  'ip6 nat': 'nat',
  'ip6 filter': 'filter',
}

/** Whether a deletion may have taken something of ours: other software deletes rules all day. */
const concernsUs = ({ table, gone }: ForeignChange): boolean =>
  gone.some(what => {
    const [kind, name = ''] = what.split(' ')
    if (kind !== 'rule' && kind !== 'chain') return kind === 'table' || kind === 'unknown'
    return isIpvsChain(name) || jumps.some(jump => jump.table === watched[table] && jump.from === name)
  })

/** Finds out what the kernel and its tools take. @throws Fault `unsupported` with what is missing and which mode would work */
export const openIpvs = async (deps: IpvsModeDeps): Promise<Mode> => {
  const { exec, clock, log } = deps
  const tools: Tools = { ipvs: createIpvs(exec), ipsets: createIpsets(exec), link: createLink(exec) }
  const { missing, usable } = await examine(tools, deps)
  if (missing.length > 0) return refuse(missing, deps.others)
  await prepare(tools, deps)
  let backends: readonly ReturnType<typeof createIpvsBackend>[] = []
  return {
    families: usable.map(({ words }) => words.family),
    backends: ({ settings, slices }) => {
      backends = usable.map(({ words, iptables }) =>
        createIpvsBackend({ ...tools, iptables, words, settings, ipvsSettings: deps.ipvs, slices }),
      )
      return backends
    },
    watch: ({ resync, stands, also }) => {
      const watch = createIpvsWatch({ backends, stands, resync, clock, log, everyMs: deps.ipvs.syncPeriod })
      const monitor = watchTables({ exec, clock, log }, [...Object.keys(watched), ...(also?.tables ?? [])], change => {
        if (watched[change.table] === undefined) also?.onForeignChange(change)
        else if (concernsUs(change)) watch.poke()
      })
      return {
        get count() {
          return watch.count
        },
        get isRunning() {
          return monitor.isRunning
        },
        stop: () => {
          watch.stop()
          monitor.stop()
        },
      }
    },
  }
}
