// IPv4 in nft's language.
import type { FamilyWords } from './words.ts'

export const ip: FamilyWords = { family: 'IPv4', table: 'ip', address: 'ipv4_addr', loopback: '127.0.0.0/8' }
