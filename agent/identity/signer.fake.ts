// The approver and signer of a cluster, in memory: answers CertificateSigningRequests in a fake apiserver with real certificates.
// Checks what kube-controller-manager checks of a node's requests (signer, usages, subject, alternative names) and the signature.
import { generateKeyPairSync, webcrypto } from 'node:crypto'
import type { FakeApi } from '../../api/kube/api.fake.ts'
import { certificateSigningRequests } from '../../api/kube/api.ts'
import type { Clock } from '../../host/clock.ts'
import type { SigningRequest } from './signing-request.ts'
import { loadX509 } from './x509.ts'

export type Ruling = 'issue' | 'deny' | 'fail' | 'leave'

export interface FakeSigner {
  /** What happens to the next requests; those that were left are ruled on again. */
  rule(ruling: Ruling): Promise<void>
  /** Milliseconds that certificates live from now on. */
  lifeMs: number
  readonly seen: readonly SigningRequest[]
  /** Signs a request as asked, whatever the apiserver holds. */
  sign(requestPem: string): Promise<string>
}

const dayMs = 86_400_000

const problemsOf = ({ spec }: SigningRequest, subject: string, names: number): readonly string[] => {
  const isServing = spec.signerName === 'kubernetes.io/kubelet-serving'
  const usage = isServing ? 'server auth' : 'client auth'
  return [
    ...(/kubelet/.test(spec.signerName) ? [] : [`unknown signer ${spec.signerName}`]),
    ...(/^O=system:nodes, CN=system:node:.+$/.test(subject) ? [] : [`subject ${subject}`]),
    ...(JSON.stringify(spec.usages) === JSON.stringify(['digital signature', usage]) ? [] : [`usages ${spec.usages.join()}`]),
    ...(isServing === names > 0 ? [] : [`${names} alternative names`]),
  ]
}

export const createFakeSigner = async (api: FakeApi, clock: Clock): Promise<FakeSigner> => {
  const library = await loadX509()
  const crypto = webcrypto as Crypto
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const caKey = pair.privateKey.toCryptoKey(algorithm, true, ['sign'])
  const seen: SigningRequest[] = []
  const left = new Set<string>()
  let ruling: Ruling = 'issue'

  const requestOf = (pem: string) => new library.Pkcs10CertificateRequest(pem)
  const namesIn = (pem: string) =>
    requestOf(pem).extensions.filter(it => it instanceof library.SubjectAlternativeNameExtension) as {
      names: { items: readonly unknown[] }
    }[]
  const sign = async (pem: string): Promise<string> => {
    const request = requestOf(pem)
    if (!(await request.verify(crypto))) throw new Error('the request is not signed by its own key')
    const certificate = await library.X509CertificateGenerator.create(
      {
        subject: request.subject,
        issuer: 'CN=test-ca',
        publicKey: request.publicKey,
        signingKey: caKey,
        signingAlgorithm: algorithm,
        notBefore: new Date(clock.now()),
        notAfter: new Date(clock.now() + signer.lifeMs),
        extensions: request.extensions,
      },
      crypto,
    )
    return `${certificate.toString('pem')}\n`
  }
  const answer = async (request: SigningRequest) => {
    const pem = Buffer.from(request.spec.request, 'base64').toString()
    const names = namesIn(pem).flatMap(it => it.names.items).length
    const problems = problemsOf(request, requestOf(pem).subject, names)
    const condition = (type: string, reason: string, message: string) => ({ conditions: [{ type, reason, message }] })
    const status =
      problems.length > 0
        ? condition('Denied', 'Unfit', problems.join())
        : ruling === 'issue'
          ? { ...condition('Approved', 'Test', ''), certificate: Buffer.from(await sign(pem)).toString('base64') }
          : ruling === 'deny'
            ? condition('Denied', 'Policy', 'not this node')
            : condition('Failed', 'SignerError', 'no key')
    const before = api.peek<SigningRequest>(certificateSigningRequests, '', request.metadata.name)
    if (before !== undefined) api.put(certificateSigningRequests, { ...before, status } as SigningRequest)
  }
  api.follow<SigningRequest>(certificateSigningRequests, (before, after) => {
    if (before !== undefined || after === undefined) return
    seen.push(after)
    if (ruling === 'leave') left.add(after.metadata.name)
    else void answer(after)
  })
  const signer: FakeSigner = {
    lifeMs: dayMs,
    seen,
    sign,
    rule: async next => {
      ruling = next
      if (next === 'leave') return
      for (const name of [...left]) {
        left.delete(name)
        const request = api.peek<SigningRequest>(certificateSigningRequests, '', name)
        if (request !== undefined) await answer(request)
      }
    },
  }
  return signer
}
