// Image names: what a person writes, taken apart and completed (docker.io, library/, :latest). Pure.
// Follows the reference grammar of the OCI distribution world (distribution/reference), which runtimes and registries share.
import { Fault } from '../host/fault.ts'

export interface ImageName {
  /** `docker.io`, `registry.example:5000`. */
  readonly domain: string
  /** `library/busybox`. */
  readonly path: string
  readonly tag?: string
  /** `sha256:…`. */
  readonly digest?: string
}

const domainPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])'
const domainPattern = new RegExp(`^(?:${domainPart}(?:\\.${domainPart})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`)
const pathPart = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*'
const pathPattern = new RegExp(`^${pathPart}(?:/${pathPart})*$`)
const tagPattern = /^\w[\w.-]{0,127}$/
const digestPattern = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/
const digestLengths: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 }
const longestPath = 255

const refuse = (image: string, why: string): Fault =>
  new Fault('image-name', `Failed to apply default image tag ${JSON.stringify(image)}: couldn't parse image name: ${why}`, {
    retry: 'never',
    reason: 'InvalidImageName',
  })

/** A first part with a dot, a colon or capitals, and `localhost`, is a registry; anything else is a path on Docker Hub. */
const splitDomain = (name: string): readonly [domain: string, path: string] => {
  const slash = name.indexOf('/')
  const first = slash < 0 ? '' : name.slice(0, slash)
  const isDomain = first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first
  const [domain, path] = isDomain ? [first, name.slice(slash + 1)] : ['docker.io', name]
  const hub = domain === 'index.docker.io' ? 'docker.io' : domain
  return [hub, hub === 'docker.io' && !path.includes('/') ? `library/${path}` : path]
}

const checkDigest = (image: string, digest: string): void => {
  const [algorithm = '', hex = ''] = digest.split(':')
  if (!digestPattern.test(digest)) throw refuse(image, 'invalid digest')
  const length = digestLengths[algorithm]
  if (length === undefined) throw refuse(image, `unsupported digest algorithm ${algorithm}`)
  if (hex.length !== length || hex.toLowerCase() !== hex) throw refuse(image, 'invalid checksum digest length')
}

/**
 * Takes an image name apart; the tag is `latest` when it has neither tag nor digest.
 * @throws Fault `image-name`, reason InvalidImageName
 */
export const parseImageName = (image: string): ImageName => {
  if (/^[a-f0-9]{64}$/.test(image)) throw refuse(image, 'a bare 64-digit hexadecimal string is an id, not a name')
  const at = image.indexOf('@')
  const [named, digest] = at < 0 ? [image, undefined] : [image.slice(0, at), image.slice(at + 1)]
  const colon = named.lastIndexOf(':')
  const hasTag = colon > named.lastIndexOf('/')
  const [name, tag] = hasTag ? [named.slice(0, colon), named.slice(colon + 1)] : [named, undefined]
  const [domain, path] = splitDomain(name)
  if (path.toLowerCase() !== path) throw refuse(image, `repository name (${path}) must be lowercase`)
  if (!domainPattern.test(domain) || !pathPattern.test(path)) throw refuse(image, 'invalid reference format')
  if (path.length > longestPath) throw refuse(image, `repository name must not be more than ${longestPath} characters`)
  if (tag !== undefined && !tagPattern.test(tag)) throw refuse(image, 'invalid tag')
  if (digest !== undefined) checkDigest(image, digest)
  return {
    domain,
    path,
    ...(tag !== undefined ? { tag } : digest === undefined && { tag: 'latest' }),
    ...(digest !== undefined && { digest }),
  }
}

/**
 * The name as the runtime is asked for it: what was written, with `:latest` where it names neither tag nor digest.
 * The registry is left to the runtime, which knows its own default.
 */
export const withDefaultTag = (image: string): string => {
  const { tag, digest } = parseImageName(image)
  return digest === undefined && !image.endsWith(`:${tag}`) ? `${image}:${tag}` : image
}

/** The full name, in which two spellings of one image are the same text. */
export const normalizeImageName = (image: string): string => {
  const { domain, path, tag, digest } = parseImageName(image)
  return `${domain}/${path}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
}

/** Registry and path, by which credentials are found. */
export const repositoryOf = (image: string): string => {
  const { domain, path } = parseImageName(image)
  return `${domain}/${path}`
}
