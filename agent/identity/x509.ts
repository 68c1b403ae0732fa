// Makes what node:crypto cannot: certificate requests (PKCS #10) and self-signed certificates, by @peculiar/x509.
// The library is loaded at the first call: it takes 14 to 17 MB of RSS that are never given back, and most runs of the daemon make nothing.
// x509-apart.ts does the same in a process of its own. Reading certificates is certificate.ts.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, webcrypto } from 'node:crypto'
import type { Millis } from '../../host/clock.ts'
import type { Subject } from './certificate.ts'

/** What is to be made; plain values, so that it can be sent to another process. Keys are PEM of EC P-256. */
export type X509Job =
  | { readonly make: 'request'; readonly key: string; readonly subject: Subject }
  | {
      readonly make: 'self-signed'
      readonly key: string
      readonly host: string
      readonly dnsNames: readonly string[]
      readonly addresses: readonly string[]
      readonly now: Millis
    }

/** Makes the PEM text of one job. */
export type MakeX509 = (job: X509Job) => Promise<string>

/** A new EC P-256 private key as PEM, in the form the kubelet keeps (SEC 1). */
export const newKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'sec1', format: 'pem' }) as string

/** The public half of a private key, as SubjectPublicKeyInfo in DER. */
export const publicKeyOf = (key: string): Buffer => createPublicKey(key).export({ type: 'spki', format: 'der' })

const signing = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const yearMs = 365 * 24 * 3_600_000
const hourMs = 3_600_000

// tsyringe, which the library is built with, refuses to load without the Reflect metadata API, and asks it only for the arguments of
// classes that have none here. So it finds an empty one while it loads, and nothing of it stays.
export const loadX509 = async () => {
  const reflect = Reflect as unknown as Record<string, unknown>
  const names = ['getMetadata', 'getOwnMetadata', 'defineMetadata'].filter(name => !(name in reflect))
  for (const name of names) reflect[name] = () => undefined
  try {
    return (await import('@peculiar/x509')).default
  } finally {
    for (const name of names) delete reflect[name]
  }
}

const cryptoKeys = (key: KeyObject) => ({
  privateKey: key.toCryptoKey(signing, true, ['sign']),
  publicKey: createPublicKey(key).toCryptoKey(signing, true, ['verify']),
})

type Library = Awaited<ReturnType<typeof loadX509>>

const alternativeNames = (library: Library, dnsNames: readonly string[], addresses: readonly string[]) =>
  dnsNames.length + addresses.length === 0
    ? []
    : [
        new library.SubjectAlternativeNameExtension([
          ...dnsNames.map(value => ({ type: 'dns' as const, value })),
          ...addresses.map(value => ({ type: 'ip' as const, value })),
        ]),
      ]

const makeRequest = async (library: Library, { key, subject }: Extract<X509Job, { make: 'request' }>): Promise<string> => {
  const request = await library.Pkcs10CertificateRequestGenerator.create(
    {
      name: [...subject.organizations.map(it => ({ O: [it] })), { CN: [subject.commonName] }],
      keys: cryptoKeys(createPrivateKey(key)),
      signingAlgorithm: signing,
      extensions: alternativeNames(library, subject.dnsNames, subject.addresses),
    },
    webcrypto as Crypto,
  )
  return `${request.toString('pem')}\n`
}

/** As upstream: a certificate authority that nobody keeps the key of signs it, and both go into the file; valid an hour ago already. */
const makeSelfSigned = async (library: Library, job: Extract<X509Job, { make: 'self-signed' }>): Promise<string> => {
  const { KeyUsageFlags: usage } = library
  const atSecond = Math.floor(job.now / 1000)
  const life = { notBefore: new Date(job.now - hourMs), notAfter: new Date(job.now - hourMs + yearMs) }
  const issuer = [{ CN: [`${job.host}-ca@${atSecond}`] }]
  const caKeys = cryptoKeys(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
  const authority = await library.X509CertificateGenerator.createSelfSigned(
    {
      ...life,
      name: issuer,
      keys: caKeys,
      signingAlgorithm: signing,
      extensions: [
        new library.KeyUsagesExtension(usage.digitalSignature | usage.keyEncipherment | usage.keyCertSign, true),
        new library.BasicConstraintsExtension(true, undefined, true),
      ],
    },
    webcrypto as Crypto,
  )
  const leaf = await library.X509CertificateGenerator.create(
    {
      ...life,
      subject: [{ CN: [`${job.host}@${atSecond}`] }],
      issuer,
      publicKey: cryptoKeys(createPrivateKey(job.key)).publicKey,
      signingKey: caKeys.privateKey,
      signingAlgorithm: signing,
      extensions: [
        new library.KeyUsagesExtension(usage.digitalSignature | usage.keyEncipherment, true),
        new library.ExtendedKeyUsageExtension([library.ExtendedKeyUsage.serverAuth]),
        new library.BasicConstraintsExtension(false, undefined, true),
        ...alternativeNames(library, job.dnsNames, job.addresses),
      ],
    },
    webcrypto as Crypto,
  )
  return `${leaf.toString('pem')}\n${authority.toString('pem')}\n`
}

/** Makes it in this process, and keeps the library. */
export const makeX509: MakeX509 = async job => {
  const library = await loadX509()
  return job.make === 'request' ? makeRequest(library, job) : makeSelfSigned(library, job)
}
