// What a name asks for: a DNS name taken apart by the Kubernetes DNS specification. Pure; knows the form of names, not what exists.
import { canonicalAddress } from '../../../host/address.ts'

export type Asked =
  | { readonly kind: 'outside' }
  /** Nothing can have this name. */
  | { readonly kind: 'nothing' }
  | { readonly kind: 'apex' }
  | { readonly kind: 'version' }
  /** The name server's own name. */
  | { readonly kind: 'server' }
  /** A name that only has names below it. */
  | { readonly kind: 'branch' }
  | { readonly kind: 'namespace'; readonly namespace: string }
  | { readonly kind: 'service'; readonly namespace: string; readonly service: string }
  | { readonly kind: 'endpoint'; readonly namespace: string; readonly service: string; readonly host: string }
  /** `_http._tcp.web…`; without a port, the name above such names. */
  | {
      readonly kind: 'port'
      readonly namespace: string
      readonly service: string
      readonly protocol: string
      readonly port?: string
    }
  | { readonly kind: 'pod'; readonly namespace: string; readonly address: string }
  /** A name of the reverse zones. */
  | { readonly kind: 'address'; readonly address: string }

/** A name as it is compared: lower case, without the dot at the end. */
export const normalName = (name: string): string => name.toLowerCase().replace(/\.$/, '')

/** True for the domain and all below it; both in normal form. */
export const isWithin = (name: string, domain: string): boolean => name === domain || name.endsWith(`.${domain}`)

const reverseV4 = (labels: readonly string[]): string | undefined =>
  labels.length === 4 ? canonicalAddress([...labels].reverse().join('.')) : undefined

const reverseV6 = (labels: readonly string[]): string | undefined => {
  if (labels.length !== 32 || labels.some(label => !/^[0-9a-f]$/.test(label))) return undefined
  const digits = [...labels].reverse().join('')
  return canonicalAddress((digits.match(/.{4}/g) ?? []).join(':'))
}

const reverseAddress = (name: string): string | undefined => {
  const labels = name.split('.')
  if (isWithin(name, 'in-addr.arpa')) return reverseV4(labels.slice(0, -2))
  if (isWithin(name, 'ip6.arpa')) return reverseV6(labels.slice(0, -2))
  return undefined
}

/** The label of an address: `10-0-0-1`, `fd00--1`. */
export const dashed = (address: string): string => address.replaceAll(/[.:]/g, '-')

const addressOfLabel = (label: string): string | undefined =>
  canonicalAddress(label.replaceAll('-', '.')) ?? canonicalAddress(label.replaceAll('-', ':'))

const podName = (labels: readonly string[]): Asked => {
  const [namespace = '', label, ...more] = labels.toReversed()
  if (label === undefined) return { kind: 'namespace', namespace }
  const address = more.length === 0 ? addressOfLabel(label) : undefined
  return address === undefined ? { kind: 'nothing' } : { kind: 'pod', namespace, address }
}

const serviceName = (labels: readonly string[]): Asked => {
  const [namespace = '', service, third, fourth, ...more] = labels.toReversed()
  if (service === undefined) return { kind: 'namespace', namespace }
  if (third === undefined) return { kind: 'service', namespace, service }
  if (more.length > 0) return { kind: 'nothing' }
  if (third.startsWith('_')) {
    const protocol = third.slice(1)
    if (fourth === undefined) return { kind: 'port', namespace, service, protocol }
    return fourth.startsWith('_') ? { kind: 'port', namespace, service, protocol, port: fourth.slice(1) } : { kind: 'nothing' }
  }
  return fourth === undefined ? { kind: 'endpoint', namespace, service, host: third } : { kind: 'nothing' }
}

/**
 * @param name in normal form
 * @param domain the cluster domain in normal form, such as `cluster.local`
 */
export const askedBy = (name: string, domain: string): Asked => {
  if (!isWithin(name, domain)) {
    const address = reverseAddress(name)
    return address === undefined ? { kind: 'outside' } : { kind: 'address', address }
  }
  if (name === domain) return { kind: 'apex' }
  const labels = name.slice(0, -domain.length - 1).split('.')
  const below = labels.slice(0, -1)
  switch (labels.at(-1)) {
    case 'svc':
      return below.length === 0 ? { kind: 'branch' } : serviceName(below)
    case 'pod':
      return below.length === 0 ? { kind: 'branch' } : podName(below)
    case 'dns':
      return below.length === 0
        ? { kind: 'branch' }
        : below.length === 1 && below[0] === 'ns'
          ? { kind: 'server' }
          : { kind: 'nothing' }
    case 'dns-version':
      return below.length === 0 ? { kind: 'version' } : { kind: 'nothing' }
    default:
      return { kind: 'nothing' }
  }
}
