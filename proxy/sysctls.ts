// The kernel settings that Service routing needs, and the module that has those of bridges. Where a setting is read-only, a warning
// names it and what will not work. Sets route_localnet only where node ports are to answer on loopback, as kube-proxy's iptables mode does.
import { access } from 'node:fs/promises'
import type { Exec } from '../host/exec.ts'
import { bringKernelSetting, type KernelSetting } from '../host/kernel-setting.ts'
import type { Log } from '../host/log.ts'

const settings: readonly KernelSetting[] = [
  { path: 'net/ipv4/ip_forward', value: '1', without: 'pods reach neither Services nor other nodes' },
  { path: 'net/ipv6/conf/all/forwarding', value: '1', without: 'IPv6 traffic of pods is not forwarded' },
  // Without it packets between pods of one bridge pass by the rules, and replies then carry the pod's address instead of the Service's.
  {
    path: 'net/bridge/bridge-nf-call-iptables',
    value: '1',
    without: 'pods of one bridge may not reach each other through Services',
  },
  {
    path: 'net/bridge/bridge-nf-call-ip6tables',
    value: '1',
    without: 'pods of one bridge may not reach each other through Services by IPv6',
  },
]

const loopback: KernelSetting = {
  path: 'net/ipv4/conf/all/route_localnet',
  value: '1',
  without: 'node ports do not answer on 127.0.0.1',
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

/** No kernel has the bridge settings before this module is loaded, and nothing loads it by itself. */
const loadBridgeModule = async (exec: Pick<Exec, 'run'>, log: Log): Promise<void> => {
  try {
    await exec.run(['modprobe', 'br_netfilter'])
    log.info({ module: 'br_netfilter' }, 'kernel module loaded')
  } catch (error) {
    const without = 'pods of one bridge may not reach each other through Services'
    log.warn({ module: 'br_netfilter', without, err: error }, 'kernel module could not be loaded')
  }
}

export interface PrepareDeps {
  readonly exec: Pick<Exec, 'run'>
  readonly log: Log
  /** Node ports are to answer on 127.0.0.1. */
  readonly servesLoopback?: boolean
}

/** Brings the settings to what routing needs; a setting that the kernel does not have or that stands already is passed over. */
export const prepareSysctls = async ({ exec, log, servesLoopback = false }: PrepareDeps, root = '/proc/sys'): Promise<void> => {
  if (!(await exists(`${root}/net/bridge`))) await loadBridgeModule(exec, log)
  for (const setting of servesLoopback ? [...settings, loopback] : settings)
    await bringKernelSetting(setting, log, root, ['ENOENT'])
}
