// Reads a kubeconfig file and the files it names into one value: which apiserver, whom to trust, who asks.
// Opens no connection and runs nothing. Every complaint says the file, the field, what it holds and what would be right.
// Follows clientcmd/api/v1 Config: the current context only, relative paths from the file's folder, inline data before files.
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { parse } from 'yaml'
import { describe, Fault } from '../../host/fault.ts'

/** A certificate or key, and where it was found, as a person would look it up. */
export interface Material {
  readonly pem: string
  readonly from: string
}

/** A program that is run for credentials: client.authentication.k8s.io. */
export interface ExecPlugin {
  readonly apiVersion: string
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly provideClusterInfo: boolean
  readonly installHint?: string
}

export interface Kubeconfig {
  readonly path: string
  /** Without a slash at its end. */
  readonly server: string
  readonly ca?: Material
  readonly insecure: boolean
  readonly serverName?: string
  readonly certificate?: Material
  readonly key?: Material
  readonly token?: string
  readonly exec?: ExecPlugin
  readonly namespace?: string
  readonly user: string
  /** Every file that went into this: when one of them changes, all of it is read again. */
  readonly files: readonly string[]
}

type Fields = Readonly<Record<string, unknown>>

interface Place {
  readonly path: string
  /** Such as `users["node"].user`. */
  readonly at: string
  readonly files: string[]
}

const wrong = ({ path, at }: Place, field: string, is: string, right: string, cause?: unknown): Fault =>
  new Fault('bad-config', `kubeconfig ${path}: ${at === '' ? '' : `${at}.`}${field} ${is}: ${right}`, {
    retry: 'never',
    ...(cause !== undefined && { cause }),
  })

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value)

const text = (place: Place, fields: Fields, field: string): string | undefined => {
  const value = fields[field]
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value !== 'string') throw wrong(place, field, `is ${JSON.stringify(value)}`, 'it must be a string')
  return value
}

const flag = (place: Place, fields: Fields, field: string): boolean => {
  const value = fields[field] ?? false
  if (typeof value !== 'boolean') throw wrong(place, field, `is ${JSON.stringify(value)}`, 'it must be true or false')
  return value
}

const readNamed = async (place: Place, field: string, name: string): Promise<Material> => {
  const path = resolve(dirname(place.path), name)
  place.files.push(path)
  try {
    return { pem: await readFile(path, 'utf8'), from: path }
  } catch (error) {
    const right = 'it must name a file that can be read'
    throw wrong(place, field, `names ${path}, which cannot be read (${(error as NodeJS.ErrnoException).code})`, right, error)
  }
}

/** What `field-data` holds inline or `field` names; `kind` is the PEM label that must be in it. */
const material = async (place: Place, fields: Fields, field: string, kind: string): Promise<Material | undefined> => {
  const inline = text(place, fields, `${field}-data`)
  const file = text(place, fields, field)
  if (inline === undefined && file === undefined) return undefined
  const found =
    inline !== undefined
      ? { pem: Buffer.from(inline, 'base64').toString(), from: `${place.at}.${field}-data of ${place.path}` }
      : await readNamed(place, field, file ?? '')
  if (new RegExp(`-----BEGIN [A-Z ]*${kind}-----`).test(found.pem)) return found
  const asked = inline !== undefined ? `${field}-data` : field
  const holds = inline !== undefined ? 'holds no such thing' : `names ${found.from}, which holds no such thing`
  throw wrong(place, asked, holds, `a PEM block "BEGIN ${kind}" must be there${inline !== undefined ? ', base64 encoded' : ''}`)
}

const entry = (path: string, config: Fields, list: string, item: string, name: string, askedBy: string): Fields => {
  const place = { path, at: '', files: [] }
  const all = config[list] ?? []
  if (!Array.isArray(all)) throw wrong(place, list, 'is no list', `it must hold entries {name, ${item}}`)
  const found: unknown = all.find(it => isFields(it) && it['name'] === name)
  const names = all.map(it => (isFields(it) ? `"${it['name']}"` : '?')).join(', ')
  if (!isFields(found)) {
    const there = names === '' ? 'is empty' : `has ${names} only`
    throw wrong(place, list, there, `${askedBy} names "${name}"; add an entry of that name, or name another`)
  }
  const inner = found[item] ?? {}
  if (!isFields(inner)) throw wrong(place, `${list}["${name}"].${item}`, 'is no map', 'it must hold fields')
  return inner
}

const readCluster = async (place: Place, fields: Fields) => {
  const server = text(place, fields, 'server')
  if (server === undefined) throw wrong(place, 'server', 'is missing', 'give the address of the apiserver, as https://HOST:6443')
  const url = URL.parse(server)
  if (url === null || !/^https?:$/.test(url.protocol))
    throw wrong(place, 'server', `is "${server}"`, 'it must be an address as https://HOST:6443')
  const proxy = text(place, fields, 'proxy-url')
  if (proxy !== undefined)
    throw wrong(
      place,
      'proxy-url',
      `is "${proxy}"`,
      'nodelet asks the apiserver directly; take it out, or give a server reached so',
    )
  const serverName = text(place, fields, 'tls-server-name')
  const ca = await material(place, fields, 'certificate-authority', 'CERTIFICATE')
  const insecure = flag(place, fields, 'insecure-skip-tls-verify')
  if (insecure && ca !== undefined)
    throw wrong(place, 'insecure-skip-tls-verify', 'is true beside a certificate authority', 'take one of the two out')
  return {
    server: server.replace(/\/+$/, ''),
    insecure,
    ...(ca !== undefined && { ca }),
    ...(serverName !== undefined && { serverName }),
  }
}

const readExec = (place: Place, fields: Fields): ExecPlugin => {
  const apiVersion = text(place, fields, 'apiVersion') ?? ''
  const command = text(place, fields, 'command')
  if (!/^client\.authentication\.k8s\.io\/v1(beta1)?$/.test(apiVersion))
    throw wrong(place, 'apiVersion', `is "${apiVersion}"`, 'client.authentication.k8s.io/v1 or v1beta1 is understood')
  if (command === undefined) throw wrong(place, 'command', 'is missing', 'name the program to run')
  if (fields['interactiveMode'] === 'Always')
    throw wrong(place, 'interactiveMode', 'is "Always"', 'a daemon has nobody to ask; it must be Never or IfAvailable')
  const args = (fields['args'] ?? []) as readonly unknown[]
  const env = (fields['env'] ?? []) as readonly { name: string; value: string }[]
  const installHint = text(place, fields, 'installHint')
  return {
    apiVersion,
    // A name with a slash is relative to the kubeconfig, one without is looked for on the PATH.
    argv: [command.includes('/') ? resolve(dirname(place.path), command) : command, ...args.map(String)],
    env: Object.fromEntries(env.map(({ name, value }) => [name, value])),
    provideClusterInfo: flag(place, fields, 'provideClusterInfo'),
    ...(installHint !== undefined && { installHint }),
  }
}

const readToken = async (place: Place, fields: Fields): Promise<string | undefined> => {
  const file = text(place, fields, 'tokenFile')
  // As client-go: the file wins over the token beside it.
  if (file === undefined) return text(place, fields, 'token')
  const token = (await readNamed(place, 'tokenFile', file)).pem.trim()
  if (token === '') throw wrong(place, 'tokenFile', `names ${file}, which is empty`, 'it must hold a bearer token')
  return token
}

const refusedUserFields = ['username', 'password', 'auth-provider', 'as', 'as-uid', 'as-groups', 'as-user-extra']

const readUser = async (place: Place, fields: Fields) => {
  for (const field of refusedUserFields) {
    if (fields[field] !== undefined)
      throw wrong(place, field, 'is not understood', 'use client-certificate and client-key, token, tokenFile or exec')
  }
  const certificate = await material(place, fields, 'client-certificate', 'CERTIFICATE')
  const key = await material(place, fields, 'client-key', 'PRIVATE KEY')
  if ((certificate === undefined) !== (key === undefined)) {
    const [has, lacks] = certificate === undefined ? ['client-key', 'client-certificate'] : ['client-certificate', 'client-key']
    throw wrong(place, lacks, `is missing beside ${has}`, `add ${lacks} or ${lacks}-data`)
  }
  const token = await readToken(place, fields)
  const exec = isFields(fields['exec']) ? readExec({ ...place, at: `${place.at}.exec` }, fields['exec']) : undefined
  if (certificate === undefined && token === undefined && exec === undefined)
    throw wrong(
      place,
      'client-certificate',
      'is missing',
      'a user needs client-certificate and client-key, token, tokenFile or exec',
    )
  return {
    ...(certificate !== undefined && { certificate }),
    ...(key !== undefined && { key }),
    ...(token !== undefined && { token }),
    ...(exec !== undefined && { exec }),
  }
}

const parseFile = async (path: string): Promise<Fields> => {
  const place = { path, at: '', files: [] }
  let content: string
  try {
    content = await readFile(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' ? 'there is no such file' : describe(error)
    throw new Fault('bad-config', `kubeconfig ${path}: ${why}; --kubeconfig must name one, as kubeadm join writes it`, {
      cause: error,
      retry: 'never',
    })
  }
  let config: unknown
  try {
    config = parse(content)
  } catch (error) {
    throw wrong(place, 'the file', 'is not YAML', describe(error).split('\n')[0] ?? '', error)
  }
  if (!isFields(config) || config['kind'] !== 'Config')
    throw wrong(
      place,
      'kind',
      `is ${JSON.stringify(isFields(config) ? config['kind'] : config)}`,
      'it must be "Config" (apiVersion v1)',
    )
  return config
}

/**
 * The current context of a kubeconfig file with all files it names read.
 * @throws Fault `bad-config` that says the file, the field and what would be right
 */
export const readKubeconfig = async (path: string): Promise<Kubeconfig> => {
  const config = await parseFile(path)
  const files = [path]
  const top = { path, at: '', files }
  const contextName = text(top, config, 'current-context')
  if (contextName === undefined) throw wrong(top, 'current-context', 'is missing', 'name one of the contexts')
  const context = entry(path, config, 'contexts', 'context', contextName, 'current-context')
  const contextPlace = { path, at: `contexts["${contextName}"].context`, files }
  const named = (field: string): string => {
    const name = text(contextPlace, context, field)
    if (name === undefined) throw wrong(contextPlace, field, 'is missing', `name one of the ${field}s`)
    return name
  }
  const cluster = named('cluster')
  const user = named('user')
  const namespace = text(contextPlace, context, 'namespace')
  const clusterFields = entry(path, config, 'clusters', 'cluster', cluster, contextPlace.at)
  const userFields = entry(path, config, 'users', 'user', user, contextPlace.at)
  return {
    path,
    user,
    files,
    ...(await readCluster({ path, at: `clusters["${cluster}"].cluster`, files }, clusterFields)),
    ...(await readUser({ path, at: `users["${user}"].user`, files }, userFields)),
    ...(namespace !== undefined && { namespace }),
  }
}
