// docs/reference.md: every field and flag of the configuration with what it takes, its default and what it does not do here, read from the
// schemas, defaults and tables that the program itself goes by. `npm run reference` writes the file; a test holds it to them.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { partialEffect, withoutEffect } from '../agent/config/effects.ts'
import { withKubeletDefaults } from '../agent/config/kubelet-defaults.ts'
import { kubeletFlags } from '../agent/config/kubelet-flags.ts'
import { kubeletSchema } from '../agent/config/kubelet-schema.ts'
import { nodeletDefaults, nodeletSchema } from '../agent/config/nodelet.ts'
import { duration } from '../api/config/document.ts'
import { formatDuration } from '../api/config/duration.ts'
import type { Flag } from '../api/config/flags.ts'
import { kubeProxySchema, withKubeProxyDefaults } from '../api/config/kube-proxy.ts'
import { idleFields, idleInDaemon } from '../api/config/kube-proxy-effects.ts'
import { kubeProxyFlags } from '../api/config/kube-proxy-flags.ts'
import { int32, int64, quantity } from '../api/validate/shape.ts'

/** What is read of a schema of valibot. */
interface Shape {
  readonly type: string
  readonly entries?: Readonly<Record<string, Shape>>
  readonly wrapped?: Shape
  readonly item?: Shape
  readonly value?: Shape
  readonly options?: readonly unknown[]
}

type Fields = Readonly<Record<string, unknown>>
type Flags = Readonly<Record<string, Flag>>

const named = new Map<unknown, string>([
  [duration, 'duration'],
  [quantity, 'quantity'],
  [int32, 'whole number'],
  [int64, 'whole number'],
])
const simple: Readonly<Record<string, string>> = { string: 'text', boolean: 'true or false', number: 'number' }

const quote = (text: string) => `\`${text}\``

const kindOf = (shape: Shape): string => {
  if (shape.wrapped !== undefined) return kindOf(shape.wrapped)
  const known = named.get(shape) ?? simple[shape.type]
  if (known !== undefined) return known
  if (shape.type === 'picklist') {
    const words = (shape.options ?? []).filter(it => it !== '')
    return words.map(it => quote(String(it))).join(', ')
  }
  if (shape.type === 'array') return `list: ${kindOf(shape.item!)}`
  if (shape.type === 'record') return `mapping: name to ${kindOf(shape.value!)}`
  if (shape.type === 'union') return (shape.options as readonly Shape[]).map(kindOf).join(' or ')
  if (shape.entries !== undefined)
    return `{ ${Object.entries(shape.entries)
      .map(([name, inner]) => `${name}: ${kindOf(inner)}`)
      .join(', ')} }`
  throw new Error(`no words for a schema of type ${shape.type}`)
}

/** Fields that hold no others, by their dotted paths. */
const leavesOf = (shape: Shape, path = ''): readonly (readonly [string, Shape])[] => {
  const inner = shape.wrapped ?? shape
  if (inner.entries === undefined) return [[path, inner]]
  return Object.entries(inner.entries).flatMap(([name, below]) => leavesOf(below, path === '' ? name : `${path}.${name}`))
}

const at = (fields: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((inside, name) => (inside as Fields | undefined)?.[name], fields)

const describeDefault = (shape: Shape, value: unknown): string => {
  const isEmpty = value === undefined || value === '' || (typeof value === 'object' && Object.keys(value ?? {}).length === 0)
  if (isEmpty) return ''
  if (shape === duration && typeof value === 'number') return quote(formatDuration(value))
  if (typeof value === 'string') return quote(value)
  return quote(JSON.stringify(value).replaceAll('"', '').replaceAll(',', ', '))
}

interface Kind {
  readonly title: string
  readonly about: string
  readonly schema: Shape
  readonly defaults: unknown
  readonly flags?: Flags
  /** What there is to know of a field, by its path or by that of the mapping it is in. */
  readonly notes: Readonly<Record<string, string>>
}

const noteOf = (notes: Kind['notes'], path: string): string => {
  const above = path.split('.').map((_, index, names) => names.slice(0, index + 1).join('.'))
  return above.flatMap(it => notes[it] ?? []).join('; ')
}

const flagsOf = (flags: Flags, path: string) =>
  Object.entries(flags).flatMap(([name, { field }]) => (field === path ? [quote(`--${name}`)] : []))

const row = (...cells: readonly string[]) => `| ${cells.map(it => it.replaceAll('|', '\\|')).join(' | ')} |`

const table = (head: readonly string[], rows: readonly (readonly string[])[]) => [
  row(...head),
  `|${head.map(() => '---|').join('')}`,
  ...rows.map(it => row(...it)),
  '',
]

/** Flags that set no field: what they do, and those that do nothing by the reason why. */
const otherFlags = (flags: Flags): readonly string[] => {
  const others = Object.entries(flags).filter(([, { field }]) => field === undefined)
  const working = others.flatMap(([name, { kind, ignored }]) => {
    if (ignored !== undefined) return []
    const note = flagNotes[name]
    if (note === undefined) throw new Error(`--${name} has no note in ${import.meta.filename}`)
    return [[quote(`--${name}`), kind === 'switch' ? '' : kind, note]]
  })
  const idle = Map.groupBy(
    others.filter(([, it]) => it.ignored !== undefined),
    ([, it]) => it.ignored ?? '',
  )
  const idleLines = [...idle].map(([why, them]) => `- ${why}: ${them.map(([name]) => quote(`--${name}`)).join(', ')}`)
  return [
    ...(working.length === 0 ? [] : ['Flags that set no field:', '', ...table(['flag', 'takes', 'what it does'], working)]),
    ...(idleLines.length === 0 ? [] : ['Taken with a warning, and without effect:', '', ...idleLines, '']),
  ]
}

const sectionOf = ({ title, about, schema, defaults, flags = {}, notes }: Kind): readonly string[] => {
  const fields = leavesOf(schema).map(([path, shape]) => [
    quote(path),
    kindOf(shape),
    describeDefault(shape, at(defaults, path)),
    flagsOf(flags, path).join(' '),
    noteOf(notes, path),
  ])
  return [`## ${title}`, '', about, '', ...table(['field', 'takes', 'default', 'flag', 'note'], fields), ...otherFlags(flags)]
}

const flagNotes: Readonly<Record<string, string>> = {
  config: 'the file of this kind',
  'config-dir': 'a folder of `*.conf` files that are laid over it',
  kubeconfig: 'how to reach the apiserver; the bootstrap writes it. Without it there is no control plane',
  'bootstrap-kubeconfig': 'credentials with which a client certificate is asked for',
  'hostname-override': "the node's name, in place of the host's",
  'node-ip': "the node's address, or one of each family with a comma between",
  'cert-dir': 'where certificates are kept; `/var/lib/kubelet/pki`',
  'root-dir': 'where volumes are; `/var/lib/kubelet`',
  'cloud-provider': '`external`: a controller gives the node its addresses and takes its taint away',
  'node-labels': 'labels that the node registers with',
  'image-credential-provider-config': 'a CredentialProviderConfig: programs that know the credentials of registries',
  'image-credential-provider-bin-dir': 'where these programs are',
  'maximum-dead-containers-per-container': 'how many ended instances of a container are kept; 1',
  'nodelet-config': 'the file of NodeletConfiguration',
  'proxy-config': 'the file of KubeProxyConfiguration for the proxy in the daemon',
  cleanup: 'takes away what was made, instead of running',
  master: "the apiserver's address, over the kubeconfig's",
  'healthz-port': 'the port of `healthzBindAddress`; 0: none',
  'metrics-port': 'the port of `metricsBindAddress`; 0: none',
  'init-only': 'makes the settings that need a privileged process, and ends',
  'write-config-to': 'writes the configuration with its defaults to a file, and ends',
  socket: 'where `nodelet trace` and `nodelet diff` ask',
}

const kubeletNotes = {
  ...Object.fromEntries(withoutEffect.map(it => [it, 'read and checked; no effect yet'])),
  ...partialEffect,
}

const nodeletNotes = {
  socket: 'where `nodelet get` and the others ask; for root only',
  stateDir: 'addresses and allocations that must outlive the daemon, and the offline copy',
  'cni.mode': 'whether this network plugin is used: `auto` leaves the pods to another whose configuration is there',
  'cni.binDir': 'the runtime is asked when it is not given',
  'cni.confDir': 'the runtime is asked when it is not given',
  'standalone.serviceCIDR': 'without an apiserver; one range, or one of each family with a comma between',
  'standalone.nodePortRange': 'without an apiserver',
  'proxy.mode': 'whether Services are routed here: `auto` stands aside while a pod of kube-proxy runs on the node',
  'offline.pods': 'whether pods are kept on the disk, root only, for starts without the apiserver',
  'offline.secrets': 'whether Secrets and tokens are kept with them',
}

const kinds: readonly Kind[] = [
  {
    title: 'KubeletConfiguration',
    about: '`kubelet.config.k8s.io/v1beta1`, the file of `nodelet agent --config` and of `--config-dir`.',
    ...{ schema: kubeletSchema, defaults: withKubeletDefaults({}), flags: kubeletFlags, notes: kubeletNotes },
  },
  {
    title: 'KubeProxyConfiguration',
    about:
      '`kubeproxy.config.k8s.io/v1alpha1`, the file of `nodelet agent --proxy-config` and of `nodelet proxy --config`. Flags are those of `nodelet proxy`.',
    ...{ schema: kubeProxySchema, defaults: withKubeProxyDefaults({}), flags: kubeProxyFlags },
    notes: {
      ...Object.fromEntries(Object.entries(idleFields).map(([path, why]) => [path, `no effect: ${why}`])),
      ...Object.fromEntries(Object.entries(idleInDaemon).map(([path, why]) => [path, `no effect in \`nodelet agent\`: ${why}`])),
    },
  },
  {
    title: 'NodeletConfiguration',
    about: '`nodelet.dev/v1alpha1`, the file of `nodelet agent --nodelet-config`: what has no place upstream.',
    ...{ schema: nodeletSchema, defaults: nodeletDefaults, notes: nodeletNotes },
  },
]

const head = `# Configuration reference

Made by \`npm run reference\` from what the program itself goes by. How files and flags come together, and what happens to a wrong one,
says [configuration.md](configuration.md); what a field of KubeletConfiguration or KubeProxyConfiguration is for, the Kubernetes
documentation of 1.36, whose fields and flags these are. A default that is not given is empty. Durations are written as \`30s\`, \`1m30s\`
or \`100ms\`, quantities as \`500m\`, \`2\` or \`1.5Gi\`.
`

/** The whole page. */
export const toReference = (): string => [head, ...kinds.flatMap(sectionOf)].join('\n')

if (import.meta.main) await writeFile(join(import.meta.dirname, '../docs/reference.md'), toReference())
