// Which IP families a Service gets, from its own fields and those that the service ranges have. Pure.
// Follows the apiserver's rules for ipFamilyPolicy, ipFamilies and clusterIPs (k8s.io: IPv4/IPv6 dual-stack, Services).
import type { IPFamily, ServiceSpec } from '../../api/service-types.ts'
import { canonicalAddress, parseAddress } from '../../host/address.ts'

export type FamilyPolicy = NonNullable<ServiceSpec['ipFamilyPolicy']>

export interface Families {
  readonly policy: FamilyPolicy
  readonly families: readonly IPFamily[]
  /** The cluster IPs that the manifest names, canonical, in the order of `families`; it may name fewer than there are families. */
  readonly given: readonly string[]
}

export type FamilyChoice = { readonly ok: Families } | { readonly problem: string }

export const isHeadless = (spec: ServiceSpec): boolean => (spec.clusterIP || spec.clusterIPs?.[0]) === 'None'

const other = (family: IPFamily): IPFamily => (family === 'IPv4' ? 'IPv6' : 'IPv4')

type Given = { readonly ok: readonly string[] } | { readonly problem: string }

const givenAddresses = (spec: ServiceSpec): Given => {
  const listed = spec.clusterIPs?.filter(ip => ip !== '') ?? []
  const first = spec.clusterIP || listed[0]
  if (first === undefined) return { ok: [] }
  if (listed.length > 0 && listed[0] !== first) return { problem: `clusterIPs[0] is ${listed[0]}, but clusterIP is ${first}` }
  const texts = listed.length > 0 ? listed : [first]
  if (texts[0] === 'None') return texts.length === 1 ? { ok: [] } : { problem: 'clusterIPs has an address beside None' }
  if (texts.length > 2) return { problem: 'clusterIPs has more than two addresses' }
  const addresses = texts.map(canonicalAddress)
  const wrong = addresses.indexOf(undefined)
  if (wrong >= 0) return { problem: `clusterIP "${texts[wrong]}" is no IP address` }
  return { ok: addresses.filter(address => address !== undefined) }
}

const familyOf = (address: string): IPFamily => parseAddress(address)?.family ?? 'IPv4'

const defaultPolicy = (spec: ServiceSpec, selectorless: boolean): FamilyPolicy =>
  spec.ipFamilyPolicy ?? (isHeadless(spec) && selectorless ? 'RequireDualStack' : 'SingleStack')

const contradiction = (
  policy: FamilyPolicy,
  asked: readonly IPFamily[],
  given: readonly string[],
  available: readonly IPFamily[],
  anyFamily: boolean,
): string | undefined => {
  if (new Set(asked).size < asked.length) return `ipFamilies names ${asked[0]} twice`
  const mismatch = given.find((address, index) => familyOf(address) !== asked[index])
  if (mismatch !== undefined) return `clusterIP ${mismatch} is not of the family that ipFamilies names for it`
  if (policy === 'SingleStack' && asked.length > 1)
    return 'two IP families or cluster IPs need ipFamilyPolicy PreferDualStack or RequireDualStack'
  if (anyFamily) return undefined
  const missing = asked.find(family => !available.includes(family))
  if (missing !== undefined) return `no service range for ${missing} is configured`
  if (policy === 'RequireDualStack' && available.length < 2)
    return 'ipFamilyPolicy RequireDualStack needs a service range of each family'
  return undefined
}

/**
 * The families of a Service that is not of type ExternalName.
 * @param available families of the service ranges, the default one first
 */
export const chooseFamilies = (spec: ServiceSpec, available: readonly IPFamily[]): FamilyChoice => {
  const given = givenAddresses(spec)
  if ('problem' in given) return given
  const selectorless = Object.keys(spec.selector ?? {}).length === 0
  const policy = defaultPolicy(spec, selectorless)
  // What has neither address nor selector is only a name: the ranges do not bind it.
  const anyFamily = isHeadless(spec) && selectorless
  const named = spec.ipFamilies ?? []
  const asked = [...named, ...given.ok.slice(named.length).map(familyOf)]
  const problem = contradiction(policy, asked, given.ok, available, anyFamily)
  if (problem !== undefined) return { problem }
  const first = asked[0] ?? available[0] ?? 'IPv4'
  const families = asked.length > 0 ? asked : [first]
  const grows = policy !== 'SingleStack' && families.length === 1 && (anyFamily || available.includes(other(first)))
  return { ok: { policy, families: grows ? [...families, other(first)] : families, given: given.ok } }
}
