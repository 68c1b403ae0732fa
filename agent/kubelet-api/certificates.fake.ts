// A certificate authority for tests: real keys and certificates, for servers and clients, with whatever life and purpose a test asks for.
import { generateKeyPairSync, webcrypto } from 'node:crypto'
import { loadX509 } from '../identity/x509.ts'

export interface Issued {
  readonly cert: string
  readonly key: string
}

export interface Order {
  /** Such as `CN=alice,O=devs,O=ops`. */
  readonly subject: string
  readonly usage?: 'server' | 'client'
  /** Milliseconds from now; a day when not given, in the past for one that has expired. */
  readonly lifeMs?: number
}

export interface FakeCa {
  /** Its own certificate, PEM. */
  readonly cert: string
  issue(order: Order): Promise<Issued>
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const dayMs = 86_400_000

const keyPair = () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    pem: privateKey.export({ type: 'sec1', format: 'pem' }) as string,
    privateKey: privateKey.toCryptoKey(algorithm, true, ['sign']),
    publicKey: publicKey.toCryptoKey(algorithm, true, ['verify']),
  }
}

export const createFakeCa = async (name: string): Promise<FakeCa> => {
  const library = await loadX509()
  const crypto = webcrypto as Crypto
  const own = keyPair()
  const issuer = `CN=${name}`
  const notBefore = () => new Date(Date.now() - 2 * dayMs)
  const ca = await library.X509CertificateGenerator.createSelfSigned(
    {
      name: issuer,
      keys: own,
      signingAlgorithm: algorithm,
      notBefore: notBefore(),
      notAfter: new Date(Date.now() + dayMs),
      extensions: [new library.BasicConstraintsExtension(true)],
    },
    crypto,
  )
  return {
    cert: `${ca.toString('pem')}\n`,
    issue: async ({ subject, usage = 'client', lifeMs = dayMs }) => {
      const keys = keyPair()
      const purpose = usage === 'server' ? library.ExtendedKeyUsage.serverAuth : library.ExtendedKeyUsage.clientAuth
      const names = new library.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])
      const certificate = await library.X509CertificateGenerator.create(
        {
          subject,
          issuer,
          publicKey: keys.publicKey,
          signingKey: own.privateKey,
          signingAlgorithm: algorithm,
          notBefore: notBefore(),
          notAfter: new Date(Date.now() + lifeMs),
          extensions: [new library.ExtendedKeyUsageExtension([purpose]), ...(usage === 'server' ? [names] : [])],
        },
        crypto,
      )
      return { cert: `${certificate.toString('pem')}\n`, key: keys.pem }
    },
  }
}
