// The words after `nodelet install`, `uninstall` and `doctor`. Pure: words in, options out, or what is wrong with them.
import { parseArgs } from 'node:util'
import { Fault } from '../host/fault.ts'

export interface JoinByToken {
  readonly by: 'token'
  /** Host and port of the apiserver. */
  readonly server: string
  readonly token: string
  readonly caHashes: readonly string[]
}

export interface JoinByFile {
  readonly by: 'file'
  /** A bootstrap kubeconfig. */
  readonly file: string
}

export interface InstallOptions {
  readonly join?: JoinByToken | JoinByFile
  readonly nodeName?: string
  readonly nodeIp?: string
  /** How long the node may take to be well. */
  readonly timeoutMs: number
}

export interface UninstallOptions {
  readonly keepData: boolean
}

export interface DoctorOptions {
  readonly fix: boolean
  readonly format: 'text' | 'json'
  /** What the node is to be: of a cluster, or alone. */
  readonly isJoining: boolean
}

export const usage = {
  install: `usage: nodelet install [--node-name NAME] [--node-ip ADDRESS] [--timeout SECONDS]
       nodelet install --join ADDRESS:PORT --token TOKEN --discovery-token-ca-cert-hash sha256:HASH
       nodelet install --join --bootstrap-kubeconfig FILE

Makes this machine a node: checks it, configures containerd where it is not, writes a systemd service, starts it and waits
until the node is well. Without --join it runs the Pods and Services in /etc/nodelet/manifests, with no control plane.
`,
  uninstall: `usage: nodelet uninstall [--keep-data]

Removes pods, rules, interfaces, mounts, cgroups, the service and its files, lists them, and looks whether anything is left.
With --keep-data /etc/nodelet and /var/lib/nodelet stay.
`,
  doctor: `usage: nodelet doctor [--join] [--fix] [-o json]

Looks for what would keep a node from working on this machine, and says what to do about it; --fix does what it can itself.
Exit code 1 when something is left that must be done.
`,
} as const

const wrong = (message: string): Fault => new Fault('bad-config', message, { retry: 'never' })

const parse = <O extends NonNullable<Parameters<typeof parseArgs>[0]>['options']>(argv: readonly string[], options: O) => {
  try {
    return parseArgs({ args: [...argv], options: { ...options, help: { type: 'boolean', short: 'h' } }, allowPositionals: true })
  } catch (error) {
    throw wrong((error instanceof Error ? error.message : String(error)).split('. ')[0] ?? '')
  }
}

const tokenForm = /^[a-z0-9]{6}\.[a-z0-9]{16}$/
const hashForm = /^sha256:[0-9a-f]{64}$/
const serverForm = /^(\[[0-9a-f:]+\]|[^:[\]/\s]+):\d{1,5}$/i
const nameForm = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/

const toJoin = (
  server: string | undefined,
  { token, hashes, file }: { token: string | undefined; hashes: readonly string[]; file: string | undefined },
): JoinByToken | JoinByFile => {
  if (file !== undefined) {
    if (server !== undefined || token !== undefined) throw wrong('--bootstrap-kubeconfig says it all: no address and no --token')
    return { by: 'file', file }
  }
  if (server === undefined || !serverForm.test(server))
    throw wrong(`--join: ${JSON.stringify(server ?? '')}: want the apiserver as ADDRESS:PORT, or --bootstrap-kubeconfig FILE`)
  if (token === undefined || !tokenForm.test(token))
    throw wrong(`--token: want one as \`kubeadm token create\` prints it, 6 and 16 small letters or digits with a dot between`)
  if (hashes.length === 0) throw wrong('--discovery-token-ca-cert-hash: want sha256:HASH of the cluster CA, as kubeadm prints it')
  const bad = hashes.find(hash => !hashForm.test(hash))
  if (bad !== undefined)
    throw wrong(`--discovery-token-ca-cert-hash: ${JSON.stringify(bad)}: want sha256: and 64 hexadecimal digits`)
  return { by: 'token', server, token, caHashes: hashes }
}

/** @returns undefined when help is asked for @throws Fault `bad-config` */
export const installOptions = (argv: readonly string[]): InstallOptions | undefined => {
  const { values, positionals } = parse(argv, {
    join: { type: 'boolean' },
    token: { type: 'string' },
    'discovery-token-ca-cert-hash': { type: 'string', multiple: true },
    'bootstrap-kubeconfig': { type: 'string' },
    'node-name': { type: 'string' },
    'node-ip': { type: 'string' },
    timeout: { type: 'string', default: '300' },
  })
  if (values.help) return undefined
  const joining = {
    token: values.token,
    hashes: values['discovery-token-ca-cert-hash'] ?? [],
    file: values['bootstrap-kubeconfig'],
  }
  const [server, ...more] = positionals
  if (more.length > 0 || (server !== undefined && !values.join))
    throw wrong(`${JSON.stringify(more[0] ?? server)}: not understood`)
  if (!values.join && (joining.token ?? joining.file ?? joining.hashes[0]) !== undefined)
    throw wrong('credentials of a cluster are given, but not --join')
  const { 'node-name': nodeName, 'node-ip': nodeIp } = values
  if (nodeName !== undefined && !nameForm.test(nodeName))
    throw wrong(`--node-name: ${JSON.stringify(nodeName)}: want small letters, digits, dots and dashes`)
  if (nodeIp !== undefined && !/^[0-9a-f:.,]+$/i.test(nodeIp))
    throw wrong(`--node-ip: ${JSON.stringify(nodeIp)}: want an address`)
  const seconds = Number(values.timeout)
  if (!(seconds >= 1 && seconds <= 86_400)) throw wrong(`--timeout: ${JSON.stringify(values.timeout)}: want seconds`)
  return {
    ...(values.join && { join: toJoin(server, joining) }),
    ...(nodeName !== undefined && { nodeName }),
    ...(nodeIp !== undefined && { nodeIp }),
    timeoutMs: seconds * 1000,
  }
}

const noPositionals = (positionals: readonly string[]) => {
  if (positionals[0] !== undefined) throw wrong(`${JSON.stringify(positionals[0])}: not understood`)
}

/** As installOptions. */
export const uninstallOptions = (argv: readonly string[]): UninstallOptions | undefined => {
  const { values, positionals } = parse(argv, { 'keep-data': { type: 'boolean' } })
  noPositionals(positionals)
  return values.help ? undefined : { keepData: values['keep-data'] === true }
}

/** As installOptions. */
export const doctorOptions = (argv: readonly string[]): DoctorOptions | undefined => {
  const { values, positionals } = parse(argv, {
    fix: { type: 'boolean' },
    join: { type: 'boolean' },
    output: { type: 'string', short: 'o', default: 'text' },
  })
  noPositionals(positionals)
  if (values.help) return undefined
  if (values.output !== 'text' && values.output !== 'json') throw wrong(`-o: ${JSON.stringify(values.output)}: want text or json`)
  return { fix: values.fix === true, isJoining: values.join === true, format: values.output }
}
