// What an httpGet probe or hook asks: address, target and headers, as the kubelet would send them. Pure.
// probes/http.ts sends it. Follows HTTPGetAction of the API reference: the path may carry a query, the Host header is the
// user's, User-Agent and Accept have defaults, and an empty one of them is not sent.
import { isIPv6 } from 'node:net'
import type { Container, HttpGetAction } from '../api/types.ts'
import { hostPort } from '../host/address.ts'
import { resolvePort } from './target.ts'

export interface HttpRequest {
  readonly secure: boolean
  /** Name or address without brackets. */
  readonly host: string
  readonly port: number
  /** Path and query as they go over the wire. */
  readonly target: string
  readonly headers: Readonly<Record<string, string | readonly string[]>>
}

/**
 * The request for an httpGet action.
 * @param podIP where it goes when the action names no host
 * @param purpose `probe` or `lifecycle`: what the User-Agent says
 * @throws Fault `container-config` when the port cannot be found
 */
export const toRequest = (
  action: HttpGetAction,
  container: Container,
  podIP: string,
  purpose: 'probe' | 'lifecycle',
): HttpRequest => {
  const host = action.host || podIP
  const port = resolvePort(action.port, container)
  const headers = toHeaders(action.httpHeaders ?? [], purpose)
  return {
    secure: action.scheme === 'HTTPS',
    host,
    port,
    target: toTarget(action.path ?? ''),
    headers: { ...headers, Host: headers['Host'] ?? hostPort(host, port) },
  }
}

/** The address of a request as messages show it. */
export const toUrl = (request: HttpRequest): string =>
  `${request.secure ? 'https' : 'http'}://${hostPort(request.host, request.port)}${request.target}`

// These describe the body or the connection, which are ours.
const ownedByTransport = new Set(['Content-Length', 'Transfer-Encoding', 'Trailer', 'Connection'])

const toHeaders = (list: NonNullable<HttpGetAction['httpHeaders']>, purpose: string): Record<string, string | string[]> => {
  const headers: Record<string, string | string[]> = {}
  for (const { name, value } of list) {
    const key = canonicalName(name)
    if (ownedByTransport.has(key)) continue
    headers[key] = key in headers ? [...[headers[key] ?? []].flat(), value] : value
  }
  const first = (key: string) => [headers[key] ?? []].flat()[0]
  headers['User-Agent'] ??= `kube-${purpose}/1.36`
  headers['Accept'] ??= '*/*'
  for (const key of ['User-Agent', 'Accept']) if (first(key) === '') delete headers[key]
  const named = first('Host')
  if (named === undefined || named === '') delete headers['Host']
  else headers['Host'] = named
  return headers
}

/** `x-forwarded-FOR` as `X-Forwarded-For`: servers that compare names byte by byte expect the form that Go's clients send. */
const canonicalName = (name: string): string =>
  /^[\w!#$%&'*+\-.^`|~]+$/.test(name)
    ? name.toLowerCase().replace(/(^|-)([a-z])/g, (_, dash: string, letter: string) => dash + letter.toUpperCase())
    : name

/** The request target of a path as a user wrote it: one slash in front, no fragment, what may not be sent percent-encoded. */
export const toTarget = (path: string): string => {
  const local = path.replace(/^[a-zA-Z][a-zA-Z0-9+.-]*:\/\/[^/?#]*/, '').replace(/#.*$/s, '')
  const [before = '', ...rest] = local.split('?')
  // A percent sign that starts no escape makes the whole path literal, question mark included.
  if (/%(?![0-9a-fA-F]{2})/.test(before)) return withSlash(encode(local.replaceAll('%', '%25').replaceAll('?', '%3F')))
  const query = rest.length > 0 ? `?${encode(rest.join('?'))}` : ''
  return withSlash(encode(before)) + query
}

const withSlash = (path: string): string => (path.startsWith('/') ? path : `/${path}`)

const encode = (text: string): string => text.replace(/[^!-~]|["<>\\^`{|}]/gu, it => encodeURIComponent(it))

const redirects = new Set([301, 302, 303, 307, 308])

/** What an answer with a Location means for a request: another request, an end at another host, or no redirect at all. */
export type Redirect = { readonly to: HttpRequest } | 'elsewhere' | 'none' | { readonly broken: string }

/** Where an answer sends the client: only the same host is followed, on whatever port and scheme. */
export const toRedirect = (request: HttpRequest, status: number, location: string | undefined): Redirect => {
  if (!redirects.has(status) || location === undefined || location === '') return 'none'
  let url: URL
  try {
    url = new URL(location, toUrl(request))
  } catch {
    return { broken: `failed to parse Location header "${location}"` }
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return { broken: `unsupported protocol scheme "${url.protocol.slice(0, -1)}"` }
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (host.toLowerCase() !== plainHost(request.host)) return 'elsewhere'
  const secure = url.protocol === 'https:'
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port)
  const absolute = /^([a-zA-Z][a-zA-Z0-9+.-]*:)?\/\//.test(location)
  const headers = absolute ? { ...request.headers, Host: hostPort(host, port) } : request.headers
  return { to: { secure, host: request.host, port, target: `${url.pathname}${url.search}`, headers } }
}

/** An address in the one way that URLs write it, so that `::0:1` and `::1` are the same host. */
const plainHost = (host: string): string =>
  isIPv6(host) ? new URL(`http://[${host}]`).hostname.slice(1, -1) : host.toLowerCase()
