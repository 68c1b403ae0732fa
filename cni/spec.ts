// The CNI specification as types: requests, versions, results in the words of the version that the caller speaks, errors.
// Pure. Follows the CNI specification 1.1.0 and, for results, 0.3.0 to 1.0.0, which callers of today still use.
import { describe, Fault, type FaultCode, type FaultDetail } from '../host/fault.ts'

export const supportedVersions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const
export type CniVersion = (typeof supportedVersions)[number]
export const verbs = ['ADD', 'DEL', 'CHECK', 'STATUS', 'GC', 'VERSION'] as const
export type Verb = (typeof verbs)[number]

/** A call as it arrives: the `CNI_*` variables and the configuration text. */
export interface CniRequest {
  readonly env: Readonly<Record<string, string>>
  readonly stdin: string
}

/** A variable that our own executable adds to an ADD of `loopback` when it has brought the interface up itself. */
export const loopbackUp = 'CNI_NODELET_LOOPBACK_UP'

/** What the plugin prints and its exit code. */
export interface CniReply {
  readonly exitCode: number
  readonly stdout: string
}

/** Error codes: below 100 the specification's, from 100 on ours. */
export const cniCodes = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  undecodable: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  network: 100,
  exhausted: 101,
  hostPortTaken: 102,
  duplicate: 103,
  drift: 104,
} as const

/** A fault whose CNI code is not the one that `codeOfFault` gives. */
export class CniFault extends Fault {
  readonly cniCode: number

  constructor(cniCode: number, code: FaultCode, message: string, detail: FaultDetail = {}) {
    super(code, message, detail)
    this.name = 'CniFault'
    this.cniCode = cniCode
  }
}

const codeOfFault: Partial<Record<FaultCode, number>> = {
  'bad-config': cniCodes.invalidConfig,
  'address-range': cniCodes.exhausted,
  'already-exists': cniCodes.duplicate,
  io: cniCodes.io,
}

/** The error that a caller sees, as the specification prints it. */
export const errorReply = (error: unknown, cniVersion: string): CniReply => {
  const code =
    error instanceof CniFault
      ? error.cniCode
      : error instanceof Fault
        ? (codeOfFault[error.code] ?? cniCodes.network)
        : cniCodes.io
  const message = error instanceof Error ? error.message : String(error)
  const full = describe(error)
  const details = full.startsWith(`${message}: `) ? full.slice(message.length + 2) : undefined
  return { exitCode: 1, stdout: JSON.stringify({ cniVersion, code, msg: message, ...(details && { details }) }) }
}

/** The fault that an error reply stands for, for those on this side who tell of it. */
export const toFault = ({ stdout }: CniReply): Fault => {
  const { code, msg, details } = JSON.parse(stdout) as { code: number; msg: string; details?: string }
  const known = (Object.keys(codeOfFault) as FaultCode[]).find(it => codeOfFault[it] === code)
  return new Fault(known ?? 'network', details === undefined ? msg : `${msg}: ${details}`)
}

export interface ResultInterface {
  readonly name: string
  readonly mac: string
  readonly mtu: number
  /** The namespace's path; absent for an interface of the host. */
  readonly sandbox?: string
}

export interface ResultAddress {
  readonly address: string
  readonly gateway?: string
  /** Index into the interfaces. */
  readonly interface: number
}

export interface ResultRoute {
  readonly dst: string
  readonly gw?: string
}

/** What ADD made, independent of any version. */
export interface CniResult {
  readonly interfaces: readonly ResultInterface[]
  readonly ips: readonly ResultAddress[]
  readonly routes: readonly ResultRoute[]
}

/** The result in the shape of the caller's version: addresses name their family before 1.0, interfaces their MTU from 1.1 on. */
export const formatResult = (result: CniResult, cniVersion: CniVersion): string => {
  const before1 = cniVersion.startsWith('0.')
  const interfaces = result.interfaces.map(({ mtu, ...link }) => ({ ...link, ...(cniVersion === '1.1.0' && { mtu }) }))
  const ips = result.ips.map(ip => ({ ...(before1 && { version: ip.address.includes(':') ? '6' : '4' }), ...ip }))
  return JSON.stringify({ cniVersion, interfaces, ips, routes: result.routes, dns: {} })
}

/** The answer to VERSION. */
export const versionReply = (cniVersion: string): CniReply => ({
  exitCode: 0,
  stdout: JSON.stringify({ cniVersion, supportedVersions }),
})

export interface Target {
  readonly verb: Verb
  readonly containerId: string
  readonly netns: string
  readonly ifname: string
  /** `namespace/name` of the pod when the runtime says so in CNI_ARGS. */
  readonly pod?: string
}

const bad = (message: string) => new CniFault(cniCodes.invalidEnvironment, 'bad-config', message, { retry: 'never' })

const needs: Readonly<Record<Verb, readonly string[]>> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  STATUS: [],
  GC: [],
  VERSION: [],
}

/**
 * What a call is about, from its environment.
 * @throws CniFault with code 4 that names the variable; every value is safe to stand in a batch of ip(8) afterwards
 */
export const parseTarget = (env: Readonly<Record<string, string>>): Target => {
  const verb = verbs.find(it => it === env['CNI_COMMAND'])
  if (verb === undefined)
    throw bad(`CNI_COMMAND is ${JSON.stringify(env['CNI_COMMAND'] ?? '')}, must be one of ${verbs.join(', ')}`)
  const missing = needs[verb].filter(name => !env[name])
  if (missing.length > 0) throw bad(`required environment variables missing: ${missing.join(', ')}`)
  const { CNI_CONTAINERID: containerId = '', CNI_NETNS: netns = '', CNI_IFNAME: ifname = '', CNI_ARGS: args = '' } = env
  if (containerId !== '' && !/^[a-zA-Z0-9][\w.-]*$/.test(containerId))
    throw bad(`CNI_CONTAINERID ${JSON.stringify(containerId)} has characters that no id may have`)
  if (ifname !== '' && (!/^[^\s/:"'\\]{1,15}$/.test(ifname) || ifname === '.' || ifname === '..'))
    throw bad(`CNI_IFNAME ${JSON.stringify(ifname)} cannot be the name of an interface`)
  if (netns !== '' && !/^\/[^\s"'\\]+$/.test(netns))
    throw bad(`CNI_NETNS ${JSON.stringify(netns)} is not an absolute path without blanks`)
  const pairs = new Map(args.split(';').map(pair => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]))
  const name = pairs.get('K8S_POD_NAME')
  return { verb, containerId, netns, ifname, ...(name && { pod: `${pairs.get('K8S_POD_NAMESPACE') ?? ''}/${name}` }) }
}
