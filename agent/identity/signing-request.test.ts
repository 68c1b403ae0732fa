import t from 'tap'
import { clientPurpose, clientSubject, requestName, servingSubject, toSigningRequest, verdictOf } from './signing-request.ts'
import { newKey, publicKeyOf } from './x509.ts'

for (const [name, given, expected] of [
  ['a node without an IP address asks for nothing yet', [{ type: 'Hostname', address: 'n1' }], undefined],
  [
    'all addresses are asked for, once each, in order and in canonical form',
    [
      { type: 'InternalIP', address: 'FD00:0::5' },
      { type: 'InternalIP', address: '10.0.0.5' },
      { type: 'ExternalIP', address: '10.0.0.5' },
      { type: 'Hostname', address: 'n1' },
      { type: 'InternalDNS', address: 'n1.internal' },
      { type: 'ExternalDNS', address: '' },
    ],
    { dnsNames: ['n1', 'n1.internal'], addresses: ['10.0.0.5', 'fd00::5'] },
  ],
  [
    'a host name that is an address is an address',
    [{ type: 'Hostname', address: '10.0.0.5' }],
    { dnsNames: [], addresses: ['10.0.0.5'] },
  ],
] as const) {
  t.test(name, async t => {
    const subject = servingSubject('n1', given)
    t.same(subject, expected && { commonName: 'system:node:n1', organizations: ['system:nodes'], ...expected })
  })
}

for (const [name, status, expected] of [
  ['a request that nobody looked at is pending', undefined, { is: 'pending', approved: false }],
  ['one approved and not signed yet is pending', { conditions: [{ type: 'Approved' }] }, { is: 'pending', approved: true }],
  [
    'one signed is issued',
    { conditions: [{ type: 'Approved' }], certificate: btoa('PEM') },
    { is: 'issued', certificate: 'PEM' },
  ],
  ['a certificate without approval does not count', { certificate: btoa('PEM') }, { is: 'pending', approved: false }],
  [
    'one denied says why',
    { conditions: [{ type: 'Denied', reason: 'Policy', message: 'no' }] },
    { is: 'refused', how: 'denied', why: 'Policy: no' },
  ],
  [
    'one that failed says so',
    { conditions: [{ type: 'Approved' }, { type: 'Failed' }] },
    { is: 'refused', how: 'failed', why: 'no reason given' },
  ],
] as const) {
  t.test(name, async t => t.same(verdictOf(status === undefined ? {} : { status }), expected))
}

t.test('the name of a request follows from key, subject and usages, and from nothing else', async t => {
  const key = publicKeyOf(newKey())
  const name = requestName(key, clientSubject('n1'), clientPurpose.usages)
  t.match(name, /^node-csr-[\w-]{43}$/)
  t.equal(requestName(key, clientSubject('n1'), clientPurpose.usages), name)
  t.not(requestName(key, clientSubject('n2'), clientPurpose.usages), name)
  t.not(requestName(publicKeyOf(newKey()), clientSubject('n1'), clientPurpose.usages), name)
})

t.test('the object asks for what the signer wants', async t => {
  t.same(toSigningRequest('PEM', clientPurpose, { expirationSeconds: 600 }), {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: { generateName: 'csr-' },
    spec: {
      request: 'UEVN',
      signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
      usages: ['digital signature', 'client auth'],
      expirationSeconds: 600,
    },
  })
})
