// The plugin as `loopback`: containerd calls a plugin of that name for every pod, and where Debian's is not installed it is this one.
// Needs no lock and no disk: the interface is there in every namespace, it only has to be up.
import { isFault } from '../host/fault.ts'
import type { Link } from '../host/link.ts'
import type { ShownLink } from './bridge.ts'
import type { NetworkConf } from './conf.ts'
import { CniFault, type CniReply, type CniResult, cniCodes, formatResult, type Target } from './spec.ts'

const result = (netns: string): CniResult => ({
  interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', mtu: 65_536, sandbox: netns }],
  ips: [
    { address: '127.0.0.1/8', interface: 0 },
    { address: '::1/128', interface: 0 },
  ],
  routes: [],
})

interface LoopbackDeps {
  readonly link: Link
  /** Whether whoever passes the call on has brought it up already. */
  readonly isUp: boolean
}

const bringUp = (link: Link, netns: string): Promise<void> =>
  link.batch(['link set dev lo up'], { netns }).catch((cause: unknown) => {
    if (!isFault(cause, 'not-found')) throw cause
    throw new CniFault(cniCodes.unknownContainer, 'not-found', `network namespace ${netns} is not there`, { cause })
  })

/** Answers a call to the plugin type `loopback`; taking it down again is left to the namespace's own end. */
export const loopback = async ({ link, isUp }: LoopbackDeps, conf: NetworkConf, target: Target): Promise<CniReply> => {
  if (target.verb === 'ADD') {
    if (!isUp) await bringUp(link, target.netns)
    return { exitCode: 0, stdout: formatResult(result(target.netns), conf.cniVersion) }
  }
  if (target.verb === 'CHECK') {
    const [lo] = await link.query<ShownLink>(['addr', 'show', 'dev', 'lo'], target.netns)
    if (!lo?.flags.includes('UP'))
      throw new CniFault(cniCodes.drift, 'network', 'the loopback interface of the container is down')
  }
  return { exitCode: 0, stdout: '' }
}
