import t from 'tap'
import { type CertificateFacts, endOf, needOf, parsePair, pemBlocks, rotateAt, type Subject, satisfies } from './certificate.ts'
import { makeX509, newKey } from './x509.ts'

const facts = (more: Partial<CertificateFacts> = {}): CertificateFacts => ({
  commonName: 'system:node:n1',
  organizations: ['system:nodes'],
  dnsNames: ['n1'],
  addresses: ['10.0.0.5'],
  notBefore: 0,
  notAfter: 1000,
  fingerprint: 'AA',
  issuer: 'CN=ca',
  ...more,
})
const asked: Subject = {
  commonName: 'system:node:n1',
  organizations: ['system:nodes'],
  dnsNames: ['n1'],
  addresses: ['10.0.0.5'],
}
const moved: Subject = { ...asked, addresses: ['10.0.0.6'] }

for (const [name, [given, names, lastAsked], now, expected] of [
  ['no certificate is requested', [undefined, asked, undefined], 0, { do: 'request', why: 'missing' }],
  ['one that ended is requested anew', [facts(), asked, undefined], 1001, { do: 'request', why: 'ended' }],
  ['one in its first 80 % is kept until then', [facts(), asked, undefined], 799, { do: 'keep', until: 800 }],
  ['one past its point is due', [facts(), asked, undefined], 800, { do: 'request', why: 'due' }],
  ['one that lacks an address of the node is requested anew', [facts(), moved, undefined], 1, { do: 'request', why: 'names' }],
  ['a signer that gives less is not asked for the same again', [facts(), moved, moved], 1, { do: 'keep', until: 800 }],
  [
    'one that says more than asked for is kept',
    [facts({ dnsNames: ['n1', 'old'], addresses: ['10.0.0.5', '10.0.0.4'] }), asked, undefined],
    1,
    { do: 'keep', until: 800 },
  ],
  [
    'one for another node is requested anew',
    [facts({ commonName: 'system:node:n2' }), asked, undefined],
    1,
    { do: 'request', why: 'names' },
  ],
] as const) {
  t.test(name, async t => t.same(needOf(given, names, lastAsked, now, 0.5), expected))
}

t.test('rotation falls between 70 and 90 % of the life', async t => {
  t.equal(rotateAt(facts(), 0), 700)
  t.equal(rotateAt(facts({ notBefore: 1000, notAfter: 2000 }), 0.5), 1800)
  t.equal(rotateAt(facts(), 0.99), 898)
})

t.test('a subject is satisfied only with every organization', async t => {
  t.notOk(satisfies(facts({ organizations: [] }), asked))
})

t.test('names are read back as they were put in, commas and IPv6 included', async t => {
  const key = newKey()
  const cert = await makeX509({
    make: 'self-signed',
    key,
    host: 'n1',
    dnsNames: ['n1', 'odd,name', 'n1.example.org'],
    addresses: ['10.0.0.5', 'fd00::5'],
    now: Date.parse('2030-01-01T00:00:00Z'),
  })
  const pair = parsePair(cert, key, 'here')
  t.match(pair.facts, {
    dnsNames: ['n1', 'odd,name', 'n1.example.org'],
    addresses: ['10.0.0.5', 'fd00::5'],
    notBefore: Date.parse('2029-12-31T23:00:00Z'),
    notAfter: Date.parse('2030-12-31T23:00:00Z'),
  })
  t.equal(pemBlocks(pair.cert, /^CERTIFICATE$/).length, 2, 'the authority is behind it')
  t.equal(endOf(cert, 'here'), Date.parse('2030-12-31T23:00:00Z'))
  t.throws(() => parsePair(cert, newKey(), 'both.pem'), { code: 'certificate', message: /both\.pem do not belong together/ })
  t.throws(() => parsePair('', key, 'a.pem'), { message: /a\.pem holds no certificate/ })
  t.throws(() => parsePair(cert, '', 'a.pem'), { message: /a\.pem holds no private key/ })
  t.throws(() => parsePair('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', key, 'a.pem'), {
    message: /a\.pem cannot be read/,
  })
})
