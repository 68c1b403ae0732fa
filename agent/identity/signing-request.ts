// What the node asks a signer for, and what the answer means. Pure: objects and names in, decisions out.
// Follows certificates.k8s.io/v1 and the kubelet's requests: the signers check exactly these subjects and usages.
import { createHash } from 'node:crypto'
import type { KubeObject } from '../../api/meta.ts'
import { canonicalAddress } from '../../host/address.ts'
import { byText } from '../../host/order.ts'
import type { Subject } from './certificate.ts'

export interface SigningRequest extends KubeObject {
  readonly spec: {
    /** The PEM of the PKCS #10 request, in base64. */
    readonly request: string
    readonly signerName: string
    readonly usages: readonly string[]
    readonly expirationSeconds?: number
  }
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly reason?: string; readonly message?: string }[]
    /** PEM, in base64. */
    readonly certificate?: string
  }
}

/** One signer and what it is asked to allow. */
export interface Purpose {
  readonly signerName: string
  readonly usages: readonly string[]
}

export const clientPurpose: Purpose = {
  signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
  usages: ['digital signature', 'client auth'],
}
export const servingPurpose: Purpose = {
  signerName: 'kubernetes.io/kubelet-serving',
  usages: ['digital signature', 'server auth'],
}

/** An address of the Node's status. */
export interface NodeAddress {
  readonly type: string
  readonly address: string
}

const identityOf = (nodeName: string) => ({ commonName: `system:node:${nodeName}`, organizations: ['system:nodes'] })

/** Whom the client certificate of a node is for; the signer refuses alternative names. */
export const clientSubject = (nodeName: string): Subject => ({ ...identityOf(nodeName), dnsNames: [], addresses: [] })

/**
 * Whom the serving certificate of a node is for: all addresses of its status, sorted. Undefined as long as there is no IP address:
 * the signer wants one, and a name alone is not reached by the apiserver.
 */
export const servingSubject = (nodeName: string, status: readonly NodeAddress[]): Subject | undefined => {
  const isName = ({ type }: NodeAddress) => type === 'Hostname' || type === 'InternalDNS' || type === 'ExternalDNS'
  const mayBeAddress = ({ type }: NodeAddress) => type === 'Hostname' || type === 'InternalIP' || type === 'ExternalIP'
  const given = status.filter(({ address }) => address !== '')
  const dnsNames = given.filter(it => isName(it) && canonicalAddress(it.address) === undefined).map(it => it.address)
  const addresses = given.filter(mayBeAddress).flatMap(it => canonicalAddress(it.address) ?? [])
  if (addresses.length === 0) return undefined
  const sorted = (texts: readonly string[]) => [...new Set(texts)].toSorted(byText)
  return { ...identityOf(nodeName), dnsNames: sorted(dnsNames), addresses: sorted(addresses) }
}

/**
 * The name of a bootstrap request, told by key, subject and usages: an attempt that was cut off finds its own request again.
 * @param publicKey the SubjectPublicKeyInfo in DER
 */
export const requestName = (publicKey: Uint8Array, subject: Subject, usages: readonly string[]): string => {
  const hash = createHash('sha512-256')
  const parts = [publicKey, ...[subject.commonName, ...subject.organizations, ...usages].map(text => Buffer.from(text))]
  // A delimiter outside the alphabet keeps two inputs from making one stream.
  for (const part of parts) hash.update(`${Buffer.from(part).toString('base64url')}|`)
  return `node-csr-${hash.digest('base64url')}`
}

/** The object to create. @param name undefined lets the apiserver choose one */
export const toSigningRequest = (
  pem: string,
  { signerName, usages }: Purpose,
  { name, expirationSeconds }: { readonly name?: string | undefined; readonly expirationSeconds?: number | undefined } = {},
): Omit<SigningRequest, 'metadata'> & { readonly metadata: { readonly name: string } | { readonly generateName: string } } => ({
  apiVersion: 'certificates.k8s.io/v1',
  kind: 'CertificateSigningRequest',
  metadata: name === undefined ? { generateName: 'csr-' } : { name },
  spec: {
    request: Buffer.from(pem).toString('base64'),
    signerName,
    usages,
    ...(expirationSeconds !== undefined && { expirationSeconds }),
  },
})

export type Verdict =
  | { readonly is: 'pending'; readonly approved: boolean }
  | { readonly is: 'issued'; readonly certificate: string }
  | { readonly is: 'refused'; readonly how: 'denied' | 'failed'; readonly why: string }

/** How far a request has come. */
export const verdictOf = ({ status }: Pick<SigningRequest, 'status'>): Verdict => {
  const conditions = status?.conditions ?? []
  const refusal = conditions.find(({ type }) => type === 'Denied' || type === 'Failed')
  if (refusal !== undefined) {
    const why = [refusal.reason, refusal.message].filter(text => text !== undefined && text !== '').join(': ')
    return { is: 'refused', how: refusal.type === 'Denied' ? 'denied' : 'failed', why: why || 'no reason given' }
  }
  const approved = conditions.some(({ type }) => type === 'Approved')
  const certificate = status?.certificate ?? ''
  if (!approved || certificate === '') return { is: 'pending', approved }
  return { is: 'issued', certificate: Buffer.from(certificate, 'base64').toString('utf8') }
}
