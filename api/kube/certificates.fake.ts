// A certificate authority in memory, for tests that need to trust, distrust, expire and rotate.
import type { webcrypto } from 'node:crypto'

export interface Issued {
  readonly certificate: string
  readonly key: string
}

export interface Authority {
  /** The CA's own certificate. */
  readonly certificate: string
  issue(
    name: string,
    validity?: { readonly from?: Date; readonly until?: Date; readonly addresses?: readonly string[] },
  ): Promise<Issued>
}

const day = 86_400_000
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

const pemOfKey = async (key: webcrypto.CryptoKey): Promise<string> => {
  const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', key))
  return `-----BEGIN PRIVATE KEY-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`
}

// tsyringe, which the library is built with, does not load without the Reflect metadata API; it needs nothing of it here.
const loadX509 = async () => {
  const reflect = Reflect as unknown as Record<string, unknown>
  const names = ['getMetadata', 'getOwnMetadata', 'defineMetadata'].filter(name => !(name in reflect))
  for (const name of names) reflect[name] = () => undefined
  try {
    return await import('@peculiar/x509')
  } finally {
    for (const name of names) delete reflect[name]
  }
}

export const createAuthority = async (name: string): Promise<Authority> => {
  const x509 = await loadX509()
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const now = Date.now()
  const own = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: `CN=${name}`,
    notBefore: new Date(now - 10 * day),
    notAfter: new Date(now + 10 * day),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  let serial = 1
  return {
    certificate: `${own.toString('pem')}\n`,
    issue: async (subject, { from = new Date(now - day), until = new Date(now + day), addresses = [] } = {}) => {
      const leaf = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
      serial += 1
      const names = addresses.map(value => ({ type: 'ip' as const, value }))
      const made = await x509.X509CertificateGenerator.create({
        serialNumber: serial.toString(16).padStart(2, '0'),
        subject: `CN=${subject}`,
        issuer: own.subject,
        notBefore: from,
        notAfter: until,
        signingAlgorithm: algorithm,
        publicKey: leaf.publicKey,
        signingKey: keys.privateKey,
        extensions: names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)],
      })
      return { certificate: `${made.toString('pem')}\n`, key: await pemOfKey(leaf.privateKey) }
    },
  }
}
