// How names, labels, keys, paths and addresses must look. Pure.
// Follows k8s.io: Object Names and IDs; Labels and Selectors; apimachinery/pkg/util/validation.
import { parseAddress, parseCidr } from '../../host/address.ts'
import type { Report } from './problem.ts'

export interface Form {
  readonly ok: (text: string) => boolean
  /** What would be right, as a person reads it. */
  readonly want: string
}

const form = (want: string, longest: number, pattern: RegExp): Form => ({
  ok: text => text.length <= longest && pattern.test(text),
  want: `want ${want}`,
})

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?'
const word = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'

export const dnsLabel = form(
  "a DNS label: at most 63 of a-z, 0-9 and '-', a letter or digit first and last",
  63,
  new RegExp(`^${label}$`),
)
export const dnsSubdomain = form(
  "a DNS name: at most 253 of a-z, 0-9, '-' and '.', a letter or digit first and last in every part",
  253,
  new RegExp(`^${label}(\\.${label})*$`),
)
export const searchDomain = form(
  "a DNS name: at most 253 of a-z, 0-9, '-', '_' and '.'",
  253,
  /^([a-z0-9_]([-_a-z0-9]*[a-z0-9_])?(\.[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?)*\.?|\.)$/,
)
export const labelValue = form(
  "a label value: at most 63 of letters, digits, '-', '_' and '.', a letter or digit first and last",
  63,
  new RegExp(`^(${word})?$`),
)
const labelName = form('', 63, new RegExp(`^${word}$`))
export const qualifiedName: Form = {
  ok: text => {
    const [first = '', second, ...more] = text.split('/')
    if (more.length > 0) return false
    return second === undefined ? labelName.ok(first) : dnsSubdomain.ok(first) && labelName.ok(second)
  },
  want: "want a name such as app or example.com/app: at most 63 of letters, digits, '-', '_' and '.' after an optional DNS name and '/'",
}
export const configKey: Form = {
  ok: text => /^[-._a-zA-Z0-9]{1,253}$/.test(text) && text !== '.' && !text.startsWith('..'),
  want: "want a key of letters, digits, '-', '_' and '.', at most 253, not beginning with '..'",
}
export const portName: Form = {
  ok: text => /^[a-z0-9]([a-z0-9]|-(?!-))*$/.test(text) && /[a-z]/.test(text) && !text.endsWith('-') && text.length <= 15,
  want: "want a port name: at most 15 of a-z, 0-9 and single '-', at least one letter, none first or last but letters and digits",
}
export const environmentName = form("a name of printable ASCII without '='", Number.POSITIVE_INFINITY, /^[ -<>-~]+$/)
export const headerName = form("a header name of letters, digits and '-'", Number.POSITIVE_INFINITY, /^[-A-Za-z0-9]+$/)
export const sysctlName = form(
  'a sysctl name such as net.ipv4.ip_forward',
  253,
  /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$/,
)
export const ipAddress: Form = { ok: text => parseAddress(text) !== undefined, want: 'want an IPv4 or IPv6 address' }

/** True for `address/length` of either family. */
export const isCidr = (text: string): boolean => parseCidr(text) !== undefined
export const cidr: Form = { ok: isCidr, want: 'want a range such as 10.96.0.0/16 or fd00::/108' }

/** A path below some directory: relative, never climbing. */
export const descendingPath: Form = {
  ok: text => !text.startsWith('/') && !text.split('/').includes('..'),
  want: "want a relative path without '..'",
}
/** A file of a projected volume: `..`-names are the kubelet's own (`..data`). */
export const projectedPath: Form = {
  ok: text => text !== '' && descendingPath.ok(text) && !text.startsWith('..'),
  want: "want a relative path without '..'",
}
export const noBacksteps: Form = { ok: text => !text.split('/').includes('..'), want: "want a path without '..'" }

/** Reports `value` when it is there and not of this form; an empty one only when it is required. */
export const check = (report: Report, path: string, value: string | undefined, shape: Form, required = false): void => {
  if (value === undefined || value === '') {
    if (required) report(path, value, value === undefined ? 'required' : shape.want)
    return
  }
  if (!shape.ok(value)) report(path, value, shape.want)
}

/** Reports a port that is not 1 to 65535. */
export const checkPort = (report: Report, path: string, port: number): void => {
  if (port < 1 || port > 65_535) report(path, port, 'want a port from 1 to 65535')
}

/** Reports a port number out of range, or a text that is no port name. */
export const checkPortOrName = (report: Report, path: string, port: number | string): void => {
  if (typeof port === 'number') checkPort(report, path, port)
  else if (!portName.ok(port)) report(path, port, portName.want)
}

/** Tells the second and later owners of one key. */
export const uniqueness = (report: Report) => {
  const seen = new Map<string, string>()
  return (path: string, value: unknown, key: string = String(value)): void => {
    const first = seen.get(key)
    if (first !== undefined) report(path, value, `already used by ${first}`)
    else seen.set(key, path)
  }
}
