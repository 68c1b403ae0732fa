// NodeletConfiguration, nodelet.dev/v1alpha1: what this program can be told that has no place in the configuration of kubelet or kube-proxy.
// Pure: shape, defaults and rules.

import { isAbsolute } from 'node:path'
import type { InferOutput } from 'valibot'
import { isCidr } from '../../api/validate/names.ts'
import type { Report } from '../../api/validate/problem.ts'
import { flag, oneOf, optional, strict, text } from '../../api/validate/shape.ts'
import { onePerFamily } from '../../host/address.ts'

const mode = optional(oneOf(['auto', 'enabled', 'disabled']))

export const nodeletSchema = strict({
  socket: optional(text),
  stateDir: optional(text),
  cni: optional(strict({ mode, binDir: optional(text), confDir: optional(text) })),
  standalone: optional(strict({ serviceCIDR: optional(text), nodePortRange: optional(text) })),
  proxy: optional(strict({ mode })),
  offline: optional(strict({ pods: optional(flag), secrets: optional(flag) })),
})

export type NodeletFields = InferOutput<typeof nodeletSchema>
export type Mode = 'auto' | 'enabled' | 'disabled'

export interface PortRange {
  readonly first: number
  /** Itself part of the range. */
  readonly last: number
}

export interface NodeletConfiguration {
  /** The unix socket on which the daemon answers, root only. */
  readonly socket: string
  /** Where the daemon keeps what must outlive it. */
  readonly stateDir: string
  /** Directories that are not given are found out from the runtime. */
  readonly cni: { readonly mode: Mode; readonly binDir?: string; readonly confDir?: string }
  readonly standalone: { readonly serviceCIDRs: readonly string[]; readonly nodePortRange: PortRange }
  readonly proxy: { readonly mode: Mode }
  /** What is kept on the disk, for root alone, so that pods start while the apiserver is away. */
  readonly offline: { readonly pods: boolean; readonly secrets: boolean }
}

/** What holds where nothing is given. */
export const nodeletDefaults = {
  ...{ socket: '/run/nodelet/nodelet.sock', stateDir: '/var/lib/nodelet' },
  cni: { mode: 'auto' },
  standalone: { serviceCIDR: '10.96.0.0/16', nodePortRange: '30000-32767' },
  proxy: { mode: 'auto' },
  offline: { pods: true, secrets: true },
} as const satisfies NodeletFields

const splitRange = (range: string): PortRange => {
  const [first = '', last = ''] = range.split('-')
  return { first: Number(first), last: Number(last) }
}

const toRanges = (text: string): readonly string[] => text.split(',').map(range => range.trim())

/** The whole configuration, with its defaults. */
export const withNodeletDefaults = (given: NodeletFields): NodeletConfiguration => {
  const { serviceCIDR, nodePortRange } = { ...nodeletDefaults.standalone, ...given.standalone }
  return {
    socket: given.socket ?? nodeletDefaults.socket,
    stateDir: given.stateDir ?? nodeletDefaults.stateDir,
    cni: { ...nodeletDefaults.cni, ...given.cni },
    standalone: { serviceCIDRs: toRanges(serviceCIDR), nodePortRange: splitRange(nodePortRange) },
    proxy: { ...nodeletDefaults.proxy, ...given.proxy },
    offline: { ...nodeletDefaults.offline, ...given.offline },
  }
}

/** Reports everything that is wrong with a NodeletConfiguration; `given` tells what was written. */
export const checkNodelet = (report: Report, given: NodeletFields): void => {
  const paths = {
    socket: given.socket,
    stateDir: given.stateDir,
    'cni.binDir': given.cni?.binDir,
    'cni.confDir': given.cni?.confDir,
  }
  for (const [path, value] of Object.entries(paths))
    if (value !== undefined && !isAbsolute(value)) report(path, value, 'want an absolute path')
  const ranges = toRanges(given.standalone?.serviceCIDR ?? nodeletDefaults.standalone.serviceCIDR)
  if (!ranges.every(isCidr) || !onePerFamily(ranges)) {
    report(
      'standalone.serviceCIDR',
      given.standalone?.serviceCIDR,
      'want a range such as 10.96.0.0/16, or one of each family with a comma between',
    )
  }
  const ports = given.standalone?.nodePortRange
  if (ports === undefined) return
  const { first, last } = splitRange(ports)
  if (!/^\d+-\d+$/.test(ports) || first < 1 || last > 65_535 || first > last)
    report('standalone.nodePortRange', ports, `want two ports such as ${nodeletDefaults.standalone.nodePortRange}`)
}
