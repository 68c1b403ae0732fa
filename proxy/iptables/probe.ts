// What the rules of this mode ask of the kernel, tried on chains that nothing leads to: only the kernel knows which of it it has.
import type { Protocol } from '../../api/meta.ts'
import type { Iptables } from '../../host/iptables.ts'
import { probeChains } from './words.ts'

const [inner, outer] = probeChains
const opened = [`:${inner} - [0:0]`, `:${outer} - [0:0]`]

const probeText = [
  '*nat',
  ...opened,
  `-A ${inner} -p tcp -m statistic --mode random --probability 0.5 -j DNAT --to-destination :80`,
  `-A ${inner} -m recent --name ${inner} --rsource --set -j RETURN`,
  `-A ${inner} -m addrtype --dst-type LOCAL -m comment --comment "nodelet" -j MARK --or-mark 0x1`,
  `-A ${inner} -m conntrack --ctstate DNAT -m mark --mark 0x1/0x1 -j RETURN`,
  `-A ${outer} -j MASQUERADE --random-fully`,
  'COMMIT',
  '*filter',
  ...opened,
  `-A ${inner} -p tcp -j REJECT --reject-with tcp-reset`,
  'COMMIT',
  '',
].join('\n')

const sctpText = `*nat\n${opened.join('\n')}\n-A ${inner} -p sctp --dport 80 -j DNAT --to-destination :80\nCOMMIT\n`

const unprobe = (table: string): readonly string[] => [`*${table}`, ...opened, `-X ${inner}`, `-X ${outer}`, 'COMMIT']
const unprobeText = `${[...unprobe('nat'), ...unprobe('filter')].join('\n')}\n`

/**
 * Tries everything and takes it away again.
 * @returns the protocols that there can be rules for
 * @throws Fault `kernel-refused` with what the kernel does not have
 */
export const probeKernel = async ({ restore }: Pick<Iptables, 'restore'>): Promise<ReadonlySet<Protocol>> => {
  await restore(probeText)
  const sctp = await restore(sctpText).then(
    () => true,
    () => false,
  )
  await restore(unprobeText)
  return new Set<Protocol>(sctp ? ['TCP', 'UDP', 'SCTP'] : ['TCP', 'UDP'])
}
