// Which credentials an image is pulled with: those of the pod's imagePullSecrets that fit the image, the most specific first. Pure.
// A secret that cannot be read is named, never quoted.
// Follows k8s.io: Pull an Image from a Private Registry; Images: interpretation of config.json.

import type { AuthConfig } from '../api/cri/types.ts'
import type { Secret } from '../api/types.ts'
import { Fault } from '../host/fault.ts'
import { byText } from '../host/order.ts'
import { parseImageName } from './image-name.ts'

export interface Credential {
  /** Registry with path, without scheme: `registry.example:5000/team`, `*.example.com`. */
  readonly key: string
  readonly auth: AuthConfig
}

const fields = [
  ['kubernetes.io/dockerconfigjson', '.dockerconfigjson'],
  ['kubernetes.io/dockercfg', '.dockercfg'],
] as const

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** `https://index.docker.io/v1/` as `index.docker.io`: the API version is no part of a repository's path. */
const toKey = (location: string): string => {
  const bare = location.replace(/^https?:\/\//, '')
  const slash = bare.indexOf('/')
  const [host, path] = slash < 0 ? [bare, ''] : [bare.slice(0, slash), bare.slice(slash)]
  const effective = path.replace(/^\/v[12]\//, '/')
  return effective === '/' ? host : host + effective
}

const toAuth = (entry: Record<string, unknown>): AuthConfig => {
  const auth = text(entry['auth'])
  const decoded = Buffer.from(auth, 'base64').toString()
  const colon = decoded.indexOf(':')
  if (auth !== '' && colon < 0) throw new Error('the auth field is not base64 of user:password')
  return auth === ''
    ? { username: text(entry['username']), password: text(entry['password']) }
    : { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) }
}

const read = (secret: Secret): readonly Credential[] => {
  const field = fields.find(([type]) => type === secret.type)
  const value = field && secret.data?.[field[1]]
  if (field === undefined || value === undefined || value === '') return []
  try {
    const content: unknown = JSON.parse(Buffer.from(value, 'base64').toString())
    const auths = isObject(content) && field[1] === '.dockerconfigjson' ? content['auths'] : content
    if (!isObject(auths)) return []
    return Object.entries(auths)
      .filter((pair): pair is [string, Record<string, unknown>] => isObject(pair[1]))
      .map(([location, entry]) => ({ key: toKey(location), auth: toAuth(entry) }))
  } catch (error) {
    // the parser's own message would quote what it read
    const why = error instanceof SyntaxError ? 'is not JSON' : (error as Error).message
    const name = `${secret.metadata.namespace ?? ''}/${secret.metadata.name}`
    throw new Fault('image-pull', `pull secret ${name} cannot be used: ${field[1]} ${why}`, {
      retry: 'backoff',
      reason: 'ErrImagePull',
      object: `secret ${name}`,
    })
  }
}

const splitHost = (name: string): readonly [parts: readonly string[], port: string, path: string] => {
  const slash = name.indexOf('/')
  const [host, path] = slash < 0 ? [name, ''] : [name.slice(0, slash), name.slice(slash)]
  const colon = host.lastIndexOf(':')
  return colon < 0 ? [host.split('.'), '', path] : [host.slice(0, colon).split('.'), host.slice(colon + 1), path]
}

const matchesPart = (glob: string, part: string): boolean =>
  new RegExp(`^${glob.replaceAll(/[.*+?^${}()|[\]\\]/g, it => (it === '*' ? '.*' : it === '?' ? '.' : `\\${it}`))}$`).test(part)

/** Host by parts, where `*` stands for (some of) one part; the same port; the path as a prefix. */
const fits = (key: string, repository: string): boolean => {
  const [globs, globPort, prefix] = splitHost(key)
  const [parts, port, path] = splitHost(repository)
  return (
    globPort === port &&
    globs.length === parts.length &&
    path.startsWith(prefix) &&
    globs.every((glob, index) => matchesPart(glob, parts[index] ?? ''))
  )
}

/** Whether a pattern such as `*.registry.io:8080/path` stands for a repository: registry and path, without a tag. */
export const matchesImage = (pattern: string, repository: string): boolean => fits(toKey(pattern), repository)

/** A credential as it is filed in a config.json, or by a credential provider. */
export const toCredential = (location: string, auth: AuthConfig): Credential => ({ key: toKey(location), auth })

const choose = (image: string, credentials: readonly Credential[]): readonly AuthConfig[] => {
  const { domain, path } = parseImageName(image)
  // more specific paths sort after their prefixes: reversed, they are tried first
  const fitting = credentials.filter(({ key }) => fits(key, `${domain}/${path}`)).sort((a, b) => byText(b.key, a.key))
  const chosen =
    fitting.length > 0 || domain !== 'docker.io' ? fitting : credentials.filter(({ key }) => key === 'index.docker.io')
  return chosen.map(({ auth }) => auth)
}

/**
 * Credentials to try for an image, in this order; empty for an anonymous pull.
 * @param provided those of the node's credential providers: tried after the pod's own
 * @throws Fault `image-pull` naming a secret that cannot be read
 */
export const credentialsFor = (
  image: string,
  secrets: readonly Secret[],
  provided: readonly Credential[] = [],
): readonly AuthConfig[] => [...choose(image, secrets.flatMap(read)), ...choose(image, provided)]
