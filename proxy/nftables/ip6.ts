// IPv6 in nft's language.
import type { FamilyWords } from './words.ts'

export const ip6: FamilyWords = { family: 'IPv6', table: 'ip6', address: 'ipv6_addr', loopback: '::1' }
