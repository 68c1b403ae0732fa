// Which files a configMap, secret, downwardAPI or projected volume holds, with their content and mode. Pure.
// Follows k8s.io: Projected Volumes; the kubelet for its error messages and for what wins: the later source.
import { normalize } from 'node:path'
import type { ResourceList } from '../../api/meta.ts'
import { allContainers } from '../../api/pod.ts'
import type { ConfigMap, KeyToPath, Pod, Secret } from '../../api/types.ts'
import { describe, Fault } from '../../host/fault.ts'
import { metadataField, resourceField } from '../downward.ts'
import type { FileSource, FilesAction } from './plan.ts'

export interface FileContent {
  readonly content: Buffer
  readonly mode: number
  /** Who owns it, where that is not root. */
  readonly uid?: number
}

/** Files by their path below the volume. */
export type Payload = ReadonlyMap<string, FileContent>

export interface PayloadInput {
  readonly pod: Pod
  readonly action: FilesAction
  readonly configMap: (name: string) => ConfigMap | undefined
  readonly secret: (name: string) => Secret | undefined
  readonly allocatable: ResourceList
  /** Tokens that were asked for, by the path of their file. */
  readonly tokens: ReadonlyMap<string, string>
}

const fail = (message: string): Fault => new Fault('volume', message)

/** The one user that all containers of a pod run as, when its spec says so: it owns the tokens then. */
export const commonUser = (pod: Pod): number | undefined => {
  const users = allContainers(pod).map(({ securityContext }) => securityContext?.runAsUser ?? pod.spec.securityContext?.runAsUser)
  return users.every(user => user === users[0]) ? users[0] : undefined
}

const decode = (encoded: string): Buffer => Buffer.from(encoded, 'base64')

const configMapData = (object: ConfigMap): ReadonlyMap<string, Buffer> =>
  new Map([
    ...Object.entries(object.binaryData ?? {}).map(([key, value]) => [key, decode(value)] as const),
    ...Object.entries(object.data ?? {}).map(([key, value]) => [key, Buffer.from(value)] as const),
  ])

const secretData = (object: Secret): ReadonlyMap<string, Buffer> =>
  new Map(Object.entries(object.data ?? {}).map(([key, value]) => [key, decode(value)]))

type Files = readonly (readonly [string, FileContent])[]

const select = (
  values: ReadonlyMap<string, Buffer>,
  items: readonly KeyToPath[],
  mode: number,
  missing: (key: string) => Fault | undefined,
): Files => {
  if (items.length === 0) return [...values].map(([key, content]) => [key, { content, mode }])
  return items.flatMap(item => {
    const content = values.get(item.key)
    if (content !== undefined) return [[item.path, { content, mode: item.mode ?? mode }] as const]
    const fault = missing(item.key)
    if (fault !== undefined) throw fault
    return []
  })
}

const objectFiles = (input: PayloadInput, source: Extract<FileSource, { items: readonly KeyToPath[]; name: string }>): Files => {
  const { from, name, items, optional } = source
  const isConfigMap = from === 'configmap'
  const missing = (key: string) =>
    optional
      ? undefined
      : fail(isConfigMap ? `configmap references non-existent config key: ${key}` : `references non-existent secret key: ${key}`)
  const found = isConfigMap ? input.configMap(name) : input.secret(name)
  if (found === undefined && !optional) throw fail(`${from} "${name}" not found`)
  const values = found === undefined ? new Map() : isConfigMap ? configMapData(found as ConfigMap) : secretData(found as Secret)
  return select(values, items, input.action.defaultMode, missing)
}

const downwardFiles = (input: PayloadInput, { items }: Extract<FileSource, { from: 'downward' }>): Files =>
  items.map(({ path, mode = input.action.defaultMode, fieldRef, resourceFieldRef }) => {
    const text = fieldRef
      ? metadataField(input.pod, fieldRef)
      : resourceFieldRef
        ? resourceField(input.pod, resourceFieldRef, input.allocatable)
        : ''
    return [path, { content: Buffer.from(text), mode }]
  })

const tokenFile = (input: PayloadInput, { path }: Extract<FileSource, { from: 'token' }>): Files => {
  const token = input.tokens.get(path)
  if (token === undefined) throw fail(`no token was issued for ${path}`)
  const uid = commonUser(input.pod)
  // a token is for its owner alone, and for fsGroup, which may read every file of the volume
  const isPrivate = uid !== undefined || input.pod.spec.securityContext?.fsGroup !== undefined
  const mode = isPrivate ? 0o600 : input.action.defaultMode
  return [[path, { content: Buffer.from(token), mode, ...(uid !== undefined && { uid }) }]]
}

const filesOf = (input: PayloadInput, source: FileSource): Files => {
  if (source.from === 'downward') return downwardFiles(input, source)
  if (source.from === 'token') return tokenFile(input, source)
  return objectFiles(input, source)
}

// names that start with two dots are the writer's own
const pathRules: readonly (readonly [broken: (path: string) => boolean, problem: string])[] = [
  [path => path === '', 'must not be empty'],
  [path => path.startsWith('/'), 'must be relative path'],
  [path => path.length > 4096, 'must be less than or equal to 4096 characters'],
  [path => path.split('/').includes('..'), "must not contain '..'"],
  [path => path.startsWith('..'), "must not start with '..'"],
  [path => path.split('/').some(part => Buffer.byteLength(part) > 255), 'filenames must be less than or equal to 255 characters'],
]

/** @throws Fault `volume` when a path could lead out of the volume or get in the writer's way */
const checkPath = (path: string): string => {
  const problem = pathRules.find(([broken]) => broken(path))?.[1]
  if (problem !== undefined) throw new Fault('volume', `invalid path: ${problem}: ${path}`, { retry: 'never' })
  return normalize(path)
}

/**
 * The files of a volume.
 * @throws Fault `volume` with the kubelet's message, all that is missing at once
 */
export const payload = (input: PayloadInput): Payload => {
  const files = new Map<string, FileContent>()
  const problems: unknown[] = []
  for (const source of input.action.sources) {
    try {
      for (const [path, file] of filesOf(input, source)) files.set(checkPath(path), file)
    } catch (error) {
      problems.push(error)
    }
  }
  const [first] = problems
  if (first === undefined) return files
  throw problems.length === 1 ? first : fail(`[${problems.map(describe).join(', ')}]`)
}
