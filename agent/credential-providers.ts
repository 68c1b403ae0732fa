// Credentials for image pulls from programs of the node's owner: asked by image, remembered as long as their answer says.
// Programs get one JSON object on stdin and answer with one on stdout; no shell, and nothing they say is ever logged but their stderr.
// Follows k8s.io: Configure a kubelet image credential provider (credentialprovider.kubelet.k8s.io/v1).
import { createHash } from 'node:crypto'
import { access, constants, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { parseDuration } from '../api/config/duration.ts'
import type { KubeObject } from '../api/meta.ts'
import { fullName, namespaceOf } from '../api/pod.ts'
import type { Pod } from '../api/types.ts'
import type { Clock, Millis } from '../host/clock.ts'
import type { Exec } from '../host/exec.ts'
import { describe, Fault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import { byText } from '../host/order.ts'
import { type CredentialProvider, parseCredentialProviders } from './config/credential-providers.ts'
import { repositoryOf } from './image-name.ts'
import { type Credential, matchesImage, toCredential } from './registry-auth.ts'
import type { TokenProvider } from './volumes/executors.ts'

export interface CredentialProvidersDeps {
  readonly providers: readonly CredentialProvider[]
  /** Where the programs are: KubeletConfiguration imageCredentialProviderBinDir. */
  readonly binDir: string
  readonly exec: Pick<Exec, 'try'>
  readonly clock: Pick<Clock, 'now'>
  readonly log: Log
  /** For providers that ask for tokens; absent without an apiserver: these are asked without one, or not at all. */
  readonly accounts?: {
    readonly tokens: Pick<TokenProvider, 'token'>
    readonly get: (namespace: string, name: string) => Promise<KubeObject>
  }
}

export interface CredentialProviders {
  /** What the providers know for the image, in their order. One that fails is passed over: the image may be public. */
  credentials(pod: Pod, image: string): Promise<readonly Credential[]>
}

/** What a provider is told beside the image. */
interface Account {
  readonly serviceAccountToken?: string
  readonly serviceAccountAnnotations?: Readonly<Record<string, string>>
  /** For whom the answer may be remembered. */
  readonly cacheKey: string
}

interface Remembered {
  readonly until: Millis
  readonly credentials: readonly Credential[]
}

const answer = v.object({
  kind: v.optional(v.string()),
  apiVersion: v.string(),
  cacheKeyType: v.picklist(['Image', 'Registry', 'Global']),
  cacheDuration: v.nullish(v.string()),
  auth: v.nullish(v.record(v.string(), v.object({ username: v.optional(v.string(), ''), password: v.optional(v.string(), '') }))),
})
type Answer = v.InferOutput<typeof answer>

const timeoutMs = 60_000
/** The life that a token has where nobody asks for another. */
const tokenSeconds = 3600

const pick = (from: Readonly<Record<string, string>>, keys: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(keys.flatMap(key => (from[key] === undefined ? [] : [[key, from[key]]])))

/** Undefined when the provider is not to be asked for this pod. */
const accountOf = async (
  { tokenAttributes: wanted }: CredentialProvider,
  { accounts }: CredentialProvidersDeps,
  pod: Pod,
): Promise<Account | undefined> => {
  if (wanted === undefined) return { cacheKey: '' }
  const { serviceAccountName: name = '' } = pod.spec
  if (name === '' || accounts === undefined) return wanted.requireServiceAccount ? undefined : { cacheKey: '' }
  const namespace = namespaceOf(pod)
  const { metadata } = await accounts.get(namespace, name)
  const { requiredServiceAccountAnnotationKeys: required = [], optionalServiceAccountAnnotationKeys: others = [] } = wanted
  const annotations = metadata.annotations ?? {}
  // by its annotations a workload says that it wants this provider
  if (required.some(key => annotations[key] === undefined)) return undefined
  const told = pick(annotations, [...required, ...others].sort(byText))
  const source = {
    from: 'token',
    path: '',
    audience: wanted.serviceAccountTokenAudience,
    expirationSeconds: tokenSeconds,
  } as const
  const token = await accounts.tokens.token(pod, source)
  const hash = wanted.cacheType === 'Token' ? createHash('sha256').update(token).digest('hex') : ''
  return {
    serviceAccountToken: token,
    ...(Object.keys(told).length > 0 && { serviceAccountAnnotations: told }),
    cacheKey: JSON.stringify([namespace, name, metadata.uid, told, hash]),
  }
}

const readAnswer = (provider: CredentialProvider, stdout: string): Answer => {
  const refuse = (why: string) => new Fault('command', `credential provider ${provider.name}: ${why}`)
  let parsed: v.SafeParseResult<typeof answer>
  try {
    parsed = v.safeParse(answer, JSON.parse(stdout))
  } catch {
    // what it said instead may hold credentials
    throw refuse('its answer is no JSON')
  }
  if (!parsed.success) throw refuse(`its answer has a wrong ${v.getDotPath(parsed.issues[0]) ?? 'shape'}`)
  const { apiVersion } = parsed.output
  if (apiVersion !== provider.apiVersion) throw refuse(`it answers as ${apiVersion}, want ${provider.apiVersion}`)
  return parsed.output
}

const ask = async (
  { exec, binDir }: CredentialProvidersDeps,
  provider: CredentialProvider,
  image: string,
  { cacheKey: _, ...account }: Account,
): Promise<Answer> => {
  const request = { kind: 'CredentialProviderRequest', apiVersion: provider.apiVersion, image, ...account }
  const { exitCode, stdout, stderr } = await exec.try([join(binDir, provider.name), ...(provider.args ?? [])], {
    input: JSON.stringify(request),
    timeoutMs,
    env: Object.fromEntries((provider.env ?? []).map(({ name, value }) => [name, value])),
  })
  if (exitCode !== 0) throw new Fault('command', `credential provider ${provider.name}: exit code ${exitCode}: ${stderr.trim()}`)
  const said = readAnswer(provider, stdout)
  const echoes = Object.values(said.auth ?? {}).some(({ password }) => password === account.serviceAccountToken)
  if (account.serviceAccountToken !== undefined && echoes && provider.tokenAttributes?.cacheType !== 'Token') {
    throw new Fault('command', `credential provider ${provider.name}: the token itself as a password needs cacheType Token`)
  }
  return said
}

const keysOf = (image: string) => ({ Image: image, Registry: image.split('/', 1)[0] ?? image, Global: '<global>' })

/** One provider with what it remembers. */
const createProvider = (deps: CredentialProvidersDeps, provider: CredentialProvider) => {
  const { clock } = deps
  const cache = new Map<string, Remembered>()
  const asking = new Map<string, Promise<readonly Credential[]>>()

  const fetch = async (image: string, account: Account): Promise<readonly Credential[]> => {
    const said = await ask(deps, provider, image, account)
    const credentials = Object.entries(said.auth ?? {}).map(([location, auth]) => toCredential(location, auth))
    const ms = said.cacheDuration == null ? provider.defaultCacheDuration : (parseDuration(said.cacheDuration) ?? 0)
    const now = clock.now()
    for (const [key, { until }] of cache) if (until <= now) cache.delete(key)
    if (ms > 0) cache.set(keysOf(image)[said.cacheKeyType] + account.cacheKey, { until: now + ms, credentials })
    return credentials
  }

  return async (pod: Pod, image: string): Promise<readonly Credential[]> => {
    if (!provider.matchImages.some(pattern => matchesImage(pattern, image))) return []
    const account = await accountOf(provider, deps, pod)
    if (account === undefined) return []
    for (const key of Object.values(keysOf(image))) {
      const there = cache.get(key + account.cacheKey)
      if (there !== undefined && clock.now() < there.until) return there.credentials
    }
    const key = JSON.stringify([image, account])
    const under = asking.get(key)
    if (under !== undefined) return under
    const fetching = fetch(image, account).finally(() => asking.delete(key))
    asking.set(key, fetching)
    return fetching
  }
}

export const createCredentialProviders = (deps: CredentialProvidersDeps): CredentialProviders => {
  const providers = deps.providers.map(provider => ({ name: provider.name, ask: createProvider(deps, provider) }))
  return {
    credentials: async (pod, image) => {
      const repository = repositoryOf(image)
      const askOne = async ({ name, ask }: (typeof providers)[number]) => {
        try {
          return await ask(pod, repository)
        } catch (error) {
          const fields = { provider: name, image: repository, pod: fullName(pod), err: error }
          deps.log.error(fields, `a credential provider failed; pulling without it: ${describe(error)}`)
          return []
        }
      }
      return (await Promise.all(providers.map(askOne))).flat()
    },
  }
}

const readConfigs = async (path: string): Promise<readonly (readonly [string, string])[]> => {
  const isFolder = (await stat(path)).isDirectory()
  const names = isFolder ? (await readdir(path)).filter(name => /\.(json|ya?ml)$/.test(name)).sort(byText) : ['']
  return Promise.all(names.map(async name => [join(path, name), await readFile(join(path, name), 'utf8')] as const))
}

/**
 * The providers of a configuration file, or of all files of a folder in the order of their names, their programs looked up.
 * @throws Fault `bad-config` that names what is wrong or missing
 */
export const loadCredentialProviders = async (path: string, binDir: string): Promise<readonly CredentialProvider[]> => {
  try {
    const providers = (await readConfigs(path)).flatMap(([file, content]) => parseCredentialProviders(file, content))
    const twice = providers.find(({ name }, index) => providers.findIndex(it => it.name === name) !== index)
    if (twice !== undefined) throw new Fault('bad-config', `${path}: provider ${twice.name} is there twice`, { retry: 'never' })
    for (const { name } of providers) await access(join(binDir, name), constants.X_OK)
    return providers
  } catch (error) {
    if (error instanceof Fault) throw error
    throw new Fault('bad-config', `image credential providers: ${describe(error)}`, { cause: error, retry: 'never' })
  }
}
