import t from 'tap'
import { defaultService } from '../../api/defaults.ts'
import type { Service, ServicePort, ServiceSpec } from '../../api/service-types.ts'
import { type Allocations, createLedger, createRules } from './allocate.ts'

const v4 = ['10.96.0.0/16']
const dual = ['10.96.0.0/16', 'fd00:96::/112']

const service = (name: string, spec: ServiceSpec = {}): Service =>
  defaultService({ metadata: { name, namespace: 'default' }, spec: { selector: { app: name }, ports: [{ port: 80 }], ...spec } })

const place = (services: readonly Service[], remembered: Allocations = {}, cidrs: readonly string[] = v4) => {
  const ledger = createLedger(createRules(cidrs))
  const outcomes = ledger.placeAll(services, remembered)
  const spec = (name: string) => outcomes.get(`default/${name}`)?.service?.spec
  return {
    ledger,
    spec,
    ips: (name: string) => spec(name)?.clusterIPs,
    ports: (name: string) => spec(name)?.ports?.map(({ nodePort }) => nodePort),
    problems: [...outcomes.values()].flatMap(outcome => outcome.problems),
  }
}

const named = 'PreferDualStack' as const
for (const [name, spec, cidrs, expected] of [
  [
    'an address that the manifest names is taken',
    { clusterIP: '10.96.7.7' },
    v4,
    { clusterIPs: ['10.96.7.7'], clusterIP: '10.96.7.7' },
  ],
  ['a headless Service gets none', { clusterIP: 'None' }, v4, { clusterIPs: ['None'], clusterIP: 'None', ipFamilies: ['IPv4'] }],
  [
    'families follow the addresses that are named',
    { clusterIP: 'fd00:96::77' },
    dual,
    { ipFamilies: ['IPv6'], ipFamilyPolicy: 'SingleStack' },
  ],
  ['without wishes the first range gives the family', {}, dual, { ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' }],
  ['the family that is asked for', { ipFamilies: ['IPv6'] }, dual, { ipFamilies: ['IPv6'], ipFamilyPolicy: 'SingleStack' }],
  ['PreferDualStack takes both where both are', { ipFamilyPolicy: named }, dual, { ipFamilies: ['IPv4', 'IPv6'] }],
  ['PreferDualStack takes one where one is', { ipFamilyPolicy: named }, v4, { ipFamilies: ['IPv4'], ipFamilyPolicy: named }],
  ['the order of families is kept', { ipFamilyPolicy: named, ipFamilies: ['IPv6'] }, dual, { ipFamilies: ['IPv6', 'IPv4'] }],
  [
    'headless without a selector is dual-stack wherever it is',
    { clusterIP: 'None', selector: {} },
    v4,
    { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'RequireDualStack' },
  ],
] as const)
  t.test(name, async t => {
    const { spec: given, problems } = place([service('web', spec)], {}, cidrs)
    t.match(given('web'), expected)
    t.same(problems, [])
  })

for (const [name, spec, problem] of [
  [
    'an address out of range',
    { clusterIP: '10.1.0.1' },
    /10\.1\.0\.1 is not in the service range 10\.96\.0\.0\/16; the Service is left out/,
  ],
  ['the network address', { clusterIP: '10.96.0.0' }, /not in the service range/],
  ['the broadcast address', { clusterIP: '10.96.255.255' }, /not in the service range/],
  ['what is no address', { clusterIP: 'ten' }, /clusterIP "ten" is no IP address/],
  ['the address of the apiserver', { clusterIP: '10.96.0.1' }, /10\.96\.0\.1 is kept for Service default\/kubernetes/],
  ['the address of cluster DNS', { clusterIP: '10.96.0.10' }, /10\.96\.0\.10 is kept for Service kube-system\/kube-dns/],
  ['a family without a range', { ipFamilies: ['IPv6'] }, /no service range for IPv6 is configured/],
  ['RequireDualStack with one range', { ipFamilyPolicy: 'RequireDualStack' }, /needs a service range of each family/],
  ['two addresses without a policy', { clusterIPs: ['10.96.1.1', 'fd00:96::1'] }, /need ipFamilyPolicy/],
  [
    'clusterIP and clusterIPs that differ',
    { clusterIP: '10.96.1.1', clusterIPs: ['10.96.1.2'] },
    /clusterIPs\[0\] is 10\.96\.1\.2/,
  ],
  ['an address of another family than ipFamilies says', { clusterIP: '10.96.1.1', ipFamilies: ['IPv6'] }, /not of the family/],
  [
    'a headless NodePort Service',
    { clusterIP: 'None', type: 'NodePort' },
    /clusterIP None is not for a Service of type NodePort/,
  ],
] as const)
  t.test(`${name} is refused`, async t => {
    const { spec: given, problems } = place([service('web', spec as ServiceSpec)])
    t.equal(given('web'), undefined)
    t.equal(problems.length, 1)
    t.match(problems[0], problem)
  })

t.test('kube-system/kube-dns gets the address that is kept for it, named or not', async t => {
  for (const spec of [{}, { clusterIP: '10.96.0.10' }]) {
    const dns = { ...service('kube-dns', spec), metadata: { name: 'kube-dns', namespace: 'kube-system' } }
    const outcome = createLedger(createRules(v4)).place(dns)
    t.equal(outcome.service?.spec.clusterIP, '10.96.0.10')
  }
})

t.test('addresses given out lie above the low end, which is left to manifests', async t => {
  const names = Array.from({ length: 300 }, (_, index) => `web-${index}`)
  const { ips } = place(names.map(name => service(name)))
  const all = names.map(name => ips(name)?.[0] ?? '')
  t.equal(new Set(all).size, 300, 'all different')
  t.ok(all.every(ip => !ip.startsWith('10.96.0.')))
})

t.test('the same Services get the same addresses without any memory', async t => {
  const services = ['a', 'b', 'c'].map(name => service(name, { type: 'NodePort' }))
  const [first, second] = [place(services), place([...services].reverse())]
  t.same(first.ledger.holdings(), second.ledger.holdings())
})

t.test('what was remembered is had again, also when a newcomer names it', async t => {
  const before = { 'default/web': { clusterIPs: ['10.96.9.9'], nodePorts: { 'TCP/80': 31_234 } } }
  const thief = service('aaa', { clusterIP: '10.96.9.9', type: 'NodePort', ports: [{ port: 1, nodePort: 31_234 }] })
  const { ips, ports, problems } = place([thief, service('web', { type: 'NodePort' })], before)
  t.same(ips('web'), ['10.96.9.9'])
  t.same(ports('web'), [31_234])
  t.same(problems, ['clusterIP 10.96.9.9 is taken by Service default/web; the Service is left out'])
})

t.test('a remembered address that is no longer in the range is given up', async t => {
  const { ips } = place([service('web')], { 'default/web': { clusterIPs: ['10.1.9.9'], nodePorts: {} } })
  t.match(ips('web'), [/^10\.96\./])
})

t.test('what a manifest names goes before what the hash would give to another', async t => {
  const wish = place([service('web')]).ips('web')?.[0]
  const { ips, problems } = place([service('web'), service('zzz', { clusterIP: wish! })])
  t.same(ips('zzz'), [wish])
  t.not(ips('web')?.[0], wish)
  t.same(problems, [])
})

t.test('a full range refuses the Service that comes last and gives its place to the next after a release', async t => {
  const ledger = createLedger(createRules(['10.0.0.0/29']))
  const outcomes = ['a', 'b', 'c', 'd', 'e', 'f'].map(name => ledger.place(service(name)))
  // of 8 addresses the network's, the broadcast and the apiserver's are nobody's
  t.same(
    outcomes.map(outcome => outcome.service !== undefined),
    [true, true, true, true, true, false],
  )
  t.match(outcomes[5]?.problems, ['no free address is left in the service range of IPv4; the Service is left out'])
  const freed = outcomes[2]?.service?.spec.clusterIP
  ledger.release('default/c')
  t.equal(ledger.place(service('f')).service?.spec.clusterIP, freed)
})

t.test('an ExternalName Service gets nothing', async t => {
  const { ledger, spec } = place([service('db', { type: 'ExternalName', externalName: 'db.example.com', clusterIP: '' })])
  t.notHas(spec('db'), { clusterIP: String })
  t.same(ledger.holdings(), {})
})

const nodePort = (ports: readonly ServicePort[], more: ServiceSpec = {}): ServiceSpec => ({ type: 'NodePort', ports, ...more })

t.test('a node port is given when none is named, and an extra port leaves the others as they were', async t => {
  const { ledger, ports } = place([service('web', nodePort([{ name: 'a', port: 80 }]))])
  const [first] = ports('web') ?? []
  t.ok(first !== undefined && first >= 30_000 && first <= 32_767)
  const more = ledger.place(
    service(
      'web',
      nodePort([
        { name: 'b', port: 81 },
        { name: 'a', port: 80 },
      ]),
    ),
  )
  t.equal(more.service?.spec.ports?.[1]?.nodePort, first)
})

t.test('a node port that another Service has is left out, the rest of the Service works', async t => {
  const { ips, ports, problems } = place([
    service('a', nodePort([{ port: 80, nodePort: 30_080 }])),
    service(
      'b',
      nodePort([
        { name: 'http', port: 80, nodePort: 30_080 },
        { name: 'https', port: 443, nodePort: 30_443 },
      ]),
    ),
  ])
  t.same(ports('a'), [30_080])
  t.same(ports('b'), [undefined, 30_443])
  t.equal(ips('b')?.length, 1)
  t.same(problems, ['nodePort 30080 is taken by Service default/a; port "http" is left without a node port'])
})

for (const [name, spec, expected, problem] of [
  [
    'a node port out of range is left out',
    nodePort([{ port: 80, nodePort: 80 }]),
    [undefined],
    /nodePort 80 is not in the range 30000-32767/,
  ],
  [
    'a node port on a ClusterIP Service is left out',
    { ports: [{ port: 80, nodePort: 30_080 }] },
    [undefined],
    /not for a Service of type ClusterIP/,
  ],
  [
    'one number in two protocols shares the node port that either names',
    nodePort([
      { name: 't', port: 53, protocol: 'TCP' },
      { name: 'u', port: 53, protocol: 'UDP', nodePort: 30_053 },
    ]),
    [30_053, 30_053],
    undefined,
  ],
  [
    'the same node port twice in one protocol is had once',
    nodePort([
      { name: 'a', port: 80, nodePort: 30_080 },
      { name: 'b', port: 81, nodePort: 30_080 },
    ]),
    [30_080, undefined],
    /nodePort 30080 is named twice/,
  ],
  [
    'a LoadBalancer that wants none gets none',
    { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] },
    [undefined],
    undefined,
  ],
] as const)
  t.test(name, async t => {
    const { ports, problems } = place([service('web', spec as ServiceSpec)])
    t.same(ports('web'), expected)
    if (problem === undefined) t.same(problems, [])
    else t.match(problems[0], problem)
  })

t.test('a LoadBalancer with local traffic policy gets a port for its health check', async t => {
  const { spec } = place([service('lb', { type: 'LoadBalancer', externalTrafficPolicy: 'Local' })])
  const port = spec('lb')?.healthCheckNodePort ?? 0
  t.ok(port >= 30_000 && port !== spec('lb')?.ports?.[0]?.nodePort)
})

t.test('ten thousand Services are placed in well under a second of processor time', async t => {
  const before = process.cpuUsage()
  place(Array.from({ length: 10_000 }, (_, index) => service(`s-${index}`)))
  const { user, system } = process.cpuUsage(before)
  t.ok(user + system < 2_000_000, `${(user + system) / 1000} ms`)
})
