// What a certificate says, and what follows from it: whether it can be used, when its successor is due. Pure: PEM text and `now` come in.
// Read by node:crypto, which costs nothing; the X.509 library is for making requests only (x509.ts).
// Follows client-go's certificate manager: rotation at 70 to 90 % of the life, a certificate may say more than was asked for.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { canonicalAddress } from '../../host/address.ts'
import type { Millis } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'

/** Whom a certificate is for: the subject and the names that a client may call it by. */
export interface Subject {
  readonly commonName: string
  readonly organizations: readonly string[]
  readonly dnsNames: readonly string[]
  /** In canonical form. */
  readonly addresses: readonly string[]
}

export interface CertificateFacts extends Subject {
  readonly notBefore: Millis
  readonly notAfter: Millis
  /** SHA-256 of the certificate: tells two of one subject apart. */
  readonly fingerprint: string
  readonly issuer: string
}

/** A certificate (its chain behind it) and its key as PEM, and what the first certificate says. */
export interface Pair {
  readonly cert: string
  readonly key: string
  readonly facts: CertificateFacts
}

/** The blocks of PEM text with one of these labels, in order. */
export const pemBlocks = (text: string, label: RegExp): readonly string[] =>
  [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[\s\S]+?-----END \1-----/g)]
    .filter(([, name = '']) => label.test(name))
    .map(([block]) => `${block}\n`)

const certificateLabel = /^CERTIFICATE$/
const keyLabel = /PRIVATE KEY$/

// Node prints alternative names as one line; only names with commas or quotes are quoted, as JSON strings.
const alternativeNames = (line: string | undefined): readonly (readonly [kind: string, name: string])[] =>
  [...(line ?? '').matchAll(/(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g)].map(([, kind = '', name = '']) => [
    kind,
    name.startsWith('"') ? (JSON.parse(name) as string) : name,
  ])

const list = (value: unknown): readonly string[] => (value === undefined ? [] : [value].flat().map(String))

const factsOf = (certificate: X509Certificate): CertificateFacts => {
  const subject = (certificate.toLegacyObject().subject ?? {}) as unknown as Readonly<Record<string, string | readonly string[]>>
  const names = alternativeNames(certificate.subjectAltName)
  const named = (kind: string) => names.filter(([it]) => it === kind).map(([, name]) => name)
  return {
    commonName: list(subject['CN'])[0] ?? '',
    organizations: list(subject['O']),
    dnsNames: named('DNS'),
    addresses: named('IP Address').map(address => canonicalAddress(address) ?? address),
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
    fingerprint: certificate.fingerprint256,
    issuer: certificate.issuer,
  }
}

/**
 * A certificate and its key, checked against each other.
 * @param where the file, or what else it came from, for the message
 * @throws Fault `certificate` when there is no certificate or no key in the texts, or they do not belong together
 */
export const parsePair = (certText: string, keyText: string, where: string): Pair => {
  const certificates = pemBlocks(certText, certificateLabel)
  const [key] = pemBlocks(keyText, keyLabel)
  const [first] = certificates
  if (first === undefined) throw new Fault('certificate', `${where} holds no certificate`)
  if (key === undefined) throw new Fault('certificate', `${where} holds no private key`)
  const read = () => ({ leaf: new X509Certificate(first), privateKey: createPrivateKey(key) })
  const { leaf, privateKey } = unreadable(where, read)
  if (!leaf.checkPrivateKey(privateKey)) throw new Fault('certificate', `certificate and key in ${where} do not belong together`)
  return { cert: certificates.join(''), key, facts: factsOf(leaf) }
}

const unreadable = <T>(where: string, read: () => T): T => {
  try {
    return read()
  } catch (cause) {
    throw new Fault('certificate', `certificate or key in ${where} cannot be read`, { cause })
  }
}

/** When the first of these certificates ends. @throws Fault `certificate` when there is none or one cannot be read */
export const endOf = (certText: string, where: string): Millis => {
  const ends = unreadable(where, () =>
    pemBlocks(certText, certificateLabel).map(pem => new X509Certificate(pem).validToDate.getTime()),
  )
  if (ends.length === 0) throw new Fault('certificate', `${where} holds no certificate`)
  return Math.min(...ends)
}

export const hasEnded = (facts: Pick<CertificateFacts, 'notAfter'>, now: Millis): boolean => now > facts.notAfter

/** True when the certificate says at least what is asked for. */
export const satisfies = (facts: Subject, asked: Subject): boolean =>
  facts.commonName === asked.commonName &&
  asked.organizations.every(it => facts.organizations.includes(it)) &&
  asked.dnsNames.every(it => facts.dnsNames.includes(it)) &&
  asked.addresses.every(it => facts.addresses.includes(it))

/** When a certificate is due for rotation. @param random in [0, 1): nodes that joined together must not rotate together */
export const rotateAt = ({ notBefore, notAfter }: CertificateFacts, random: number): Millis =>
  notBefore + Math.round((notAfter - notBefore) * (0.7 + 0.2 * random))

export type Need =
  | { readonly do: 'keep'; readonly until: Millis }
  | { readonly do: 'request'; readonly why: 'missing' | 'ended' | 'due' | 'names' }

/**
 * What a certificate in use needs.
 * @param lastAsked what was asked for last by us: an issuer that gives less than that is not asked for the same again before it is due
 */
export const needOf = (
  facts: CertificateFacts | undefined,
  asked: Subject,
  lastAsked: Subject | undefined,
  now: Millis,
  random: number,
): Need => {
  if (facts === undefined) return { do: 'request', why: 'missing' }
  if (hasEnded(facts, now)) return { do: 'request', why: 'ended' }
  if (!satisfies(facts, asked) && !sameSubject(asked, lastAsked)) return { do: 'request', why: 'names' }
  const due = rotateAt(facts, random)
  return now >= due ? { do: 'request', why: 'due' } : { do: 'keep', until: due }
}

export const sameSubject = (a: Subject, b: Subject | undefined): boolean => JSON.stringify(a) === JSON.stringify(b)
