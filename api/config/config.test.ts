import t from 'tap'
import { type Fault, isFault } from '../../host/fault.ts'
import { mergeFields, parseConfigFile } from './document.ts'
import { formatDuration, parseDuration } from './duration.ts'
import { type Flag, readFlags } from './flags.ts'
import { chooseMode } from './kube-proxy.ts'
import { loadProxyConfig } from './proxy-config.ts'

for (const [text, ms] of [
  ['0', 0],
  ['0s', 0],
  ['300ms', 300],
  ['1.5s', 1500],
  ['1h15m30.5s', 4_530_500],
  ['.5m', 30_000],
  ['-2s', -2000],
  ['100us', 0.1],
  ['1µs', 0.001],
] as const) {
  t.test(`${text} is ${ms} ms`, async t => t.equal(parseDuration(text), ms))
}

for (const text of ['', '1', 's', '1d', '1 s', '1s ', '1s2', '--1s', 'abc']) {
  t.test(`${JSON.stringify(text)} is no duration`, async t => t.equal(parseDuration(text), undefined))
}

for (const [ms, text] of [
  [0, '0s'],
  [100, '100ms'],
  [1500, '1.5s'],
  [90_000, '1m30s'],
  [4 * 3_600_000, '4h0m0s'],
] as const) {
  t.test(`${ms} ms are written ${text}`, async t => t.equal(formatDuration(ms), text))
}

const table: Readonly<Record<string, Flag>> = {
  name: { kind: 'text' },
  'on-or-off': { kind: 'switch', field: 'a.b.on' },
  count: { kind: 'integer', field: 'count' },
  wait: { kind: 'duration', field: 'wait' },
  list: { kind: 'list', field: 'list' },
  map: { kind: 'map', field: 'map' },
  gates: { kind: 'switches', field: 'gates' },
  thresholds: { kind: 'thresholds', field: 'thresholds' },
  headers: { kind: 'headers', field: 'headers' },
  taints: { kind: 'taints', field: 'taints' },
  reserved: { kind: 'reserved-memory', field: 'reserved' },
  v: { kind: 'integer', field: 'verbosity', short: 'v' },
  old: { kind: 'text', ignored: 'gone' },
}

for (const [name, argv, expected] of [
  ['nothing', [], { options: {}, fields: {} }],
  ['a value after =', ['--name=a=b'], { options: { name: 'a=b' } }],
  ['a value in the next word', ['--name', '--x'], { options: { name: '--x' } }],
  ['an empty value', ['--name='], { options: { name: '' } }],
  ['a switch alone', ['--on-or-off'], { fields: { a: { b: { on: true } } } }],
  ['a switch that is off', ['--on-or-off=false'], { fields: { a: { b: { on: false } } } }],
  ["Go's words for true", ['--on-or-off=T'], { fields: { a: { b: { on: true } } } }],
  ['_ for -', ['--on_or_off'], { fields: { a: { b: { on: true } } } }],
  ['the last one wins', ['--count=1', '--count', '2'], { fields: { count: 2 } }],
  ['a duration stays as it is written', ['--wait=1m'], { fields: { wait: '1m' } }],
  ['lists add up', ['--list=a,b', '--list=c'], { fields: { list: ['a', 'b', 'c'] } }],
  ['maps merge', ['--map=a=1,b=2', '--map=b=3'], { fields: { map: { a: '1', b: '3' } }, replaces: ['map'] }],
  ['gates', ['--gates=A=true,B=false'], { fields: { gates: { A: true, B: false } }, replaces: [] }],
  [
    'thresholds',
    ['--thresholds=memory.available<1Gi,nodefs.available<10%'],
    { fields: { thresholds: { 'memory.available': '1Gi', 'nodefs.available': '10%' } } },
  ],
  ['headers', ['--headers=a:1,a:2,b:3'], { fields: { headers: { a: ['1', '2'], b: ['3'] } } }],
  [
    'taints',
    ['--taints=a=b:NoSchedule,c:NoExecute'],
    {
      fields: {
        taints: [
          { key: 'a', value: 'b', effect: 'NoSchedule' },
          { key: 'c', effect: 'NoExecute' },
        ],
      },
    },
  ],
  [
    'reserved memory',
    ['--reserved=0:memory=1Gi', '--reserved=1:memory=2Gi'],
    { fields: { reserved: [{ numaNode: 0, limits: { memory: '1Gi' } }, { numaNode: 1 }] } },
  ],
  ['-v4', ['-v4'], { fields: { verbosity: 4 } }],
  ['-v=4', ['-v=4'], { fields: { verbosity: 4 } }],
  ['-v 4', ['-v', '4'], { fields: { verbosity: 4 } }],
  ['--v=4', ['--v=4'], { fields: { verbosity: 4 } }],
  ['one that is gone', ['--old', 'x'], { options: {}, warnings: ['--old: gone'] }],
] as const) {
  t.test(`flags: ${name}`, async t => {
    const read = readFlags(argv, table)
    t.match(read, expected)
    if ('fields' in expected) t.same(Object.keys(read.fields), Object.keys(expected.fields))
  })
}

t.test('it is known which flag set which field', async t => {
  t.same(
    [...readFlags(['--on-or-off', '--v=1'], table).origins],
    [
      ['a.b.on', '--on-or-off'],
      ['verbosity', '--v'],
    ],
  )
})

const messageOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (isFault(error, 'bad-config')) return error.message
    throw error
  }
  throw new Error('nothing was thrown')
}

for (const [argv, message] of [
  [['--nmae=x'], '--nmae: unknown flag; did you mean --name?'],
  [['--zzzzzz'], '--zzzzzz: unknown flag'],
  [['-name=x'], '-name=x: unknown flag; did you mean --name?'],
  [['--name'], '--name: needs a value'],
  [['word'], '"word": want flags only, each as --name=value'],
  [['--'], '"--": want flags only, each as --name=value'],
  [['--on-or-off=maybe'], '--on-or-off: "maybe": want true or false'],
  [['--count=x'], '--count: "x": want a whole number'],
  [['--wait=5'], '--wait: "5": want a duration such as 30s, 1m30s or 100ms'],
  [['--map=a'], '--map: "a": want name=value,name=value'],
  [['--gates=A=maybe'], '--gates: "A=maybe": want Gate=true,Other=false'],
  [['--taints=a'], '--taints: "a": want key=value:Effect,key:Effect'],
  [['--reserved=memory=1Gi'], '--reserved: "memory=1Gi": want NODE:memory=1Gi,hugepages-2Mi=2Gi'],
  [['--constructor'], '--constructor: unknown flag'],
] as const) {
  t.test(`${argv.join(' ')} is refused in one line`, async t =>
    t.equal(
      messageOf(() => readFlags(argv, table)),
      message,
    ),
  )
}

for (const [name, text, message] of [
  ['no YAML', 'a: [\n', /^f: line \d+: /],
  ['a key twice', 'kind: K\nkind: K\n', /^f: line 2: .*unique/],
  ['nothing', '# words\n', 'f: want one document of kind K, not 0'],
  ['two documents', 'apiVersion: v\nkind: K\n---\na: 1\n', 'f: want one document of kind K, not 2'],
  ['another kind', 'apiVersion: v\nkind: L\n', 'f: want apiVersion: v, kind: K, not v, kind: L'],
  ['no kind', 'a: 1\n', 'f: want apiVersion: v, kind: K, not (no apiVersion), kind: (no kind)'],
] as const) {
  t.test(`a configuration file with ${name} is refused`, async t =>
    t.match(
      messageOf(() => parseConfigFile('f', text, 'v', 'K')),
      message,
    ),
  )
}

t.test('a configuration file is its fields, without nulls', async t => {
  t.same(parseConfigFile('f', '---\napiVersion: v\nkind: K\na: 1\nb: null\n', 'v', 'K'), { a: 1 })
})

t.test('mappings merge, all else is replaced', async t => {
  t.same(mergeFields({ a: { x: 1, y: 2 }, l: [1, 2], s: 'a' }, { a: { y: 3 }, l: [4] }), { a: { x: 1, y: 3 }, l: [4], s: 'a' })
})

const files = (contents: Readonly<Record<string, string>>) => async (file: string) => {
  const text = contents[file]
  if (text === undefined) throw Object.assign(new Error(`ENOENT: ${file}`), { code: 'ENOENT' })
  return text
}
const proxyFile = (fields: string) =>
  files({ f: `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n${fields}` })

t.test("the proxy has kube-proxy's defaults, and nftables", async t => {
  const { config, warnings, cleanup } = await loadProxyConfig([], files({}))
  t.match(config, {
    mode: 'nftables',
    bindAddress: '0.0.0.0',
    healthzBindAddress: '0.0.0.0:10256',
    metricsBindAddress: '127.0.0.1:10249',
    nftables: { masqueradeBit: 14, syncPeriod: 30_000, minSyncPeriod: 1000 },
    detectLocalMode: 'ClusterCIDR',
    clusterCIDRs: [],
    conntrack: { maxPerCore: 32_768, tcpCloseWaitTimeout: 3_600_000 },
  })
  t.match(warnings, [/no proxy mode is given: nftables/])
  t.equal(cleanup, false)
})

t.test('what kubeadm writes for kube-proxy is read', async t => {
  const { config } = await loadProxyConfig(
    ['--config=f', '--hostname-override=node-a'],
    proxyFile(`bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0}
clusterCIDR: 10.244.0.0/16,fd00::/56
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
`),
  )
  t.match(config, {
    hostnameOverride: 'node-a',
    clusterCIDRs: ['10.244.0.0/16', 'fd00::/56'],
    clientConnection: { qps: 5, burst: 10 },
  })
})

t.test('with a file the other flags are not looked at, and that is said', async t => {
  const { config, warnings } = await loadProxyConfig(['--config=f', '--bind-address=10.0.0.1'], proxyFile('mode: nftables'))
  t.equal(config.bindAddress, '0.0.0.0')
  t.same(warnings, ['with --config these are taken from the file, not from flags: bindAddress'])
})

t.test('flags of 1.36 that do nothing here are taken, and that is said', async t => {
  const flags = ['--vmodule=a=1', '--log-json-split-stream', '--log-text-info-buffer-size=1Ki', '--machine-id-file=/x']
  const { warnings } = await loadProxyConfig(['--proxy-mode=nftables', ...flags], files({}))
  t.match(warnings, [/^--vmodule: /, /^--log-json-split-stream: /, /^--log-text-info-buffer-size: /, /^--machine-id-file: /])
})

t.test("flags of one mode's name speak of the mode that runs", async t => {
  const flags = ['--proxy-mode=nftables', '--masquerade-all', '--iptables-sync-period=10s', '--iptables-min-sync-period=0s']
  const { config } = await loadProxyConfig(flags, files({}))
  t.match(config, {
    nftables: { masqueradeAll: true, syncPeriod: 10_000, minSyncPeriod: 1000 },
    iptables: { masqueradeAll: true, syncPeriod: 10_000 },
    ipvs: { syncPeriod: 30_000 },
  })
})

for (const [name, argv, expected] of [
  ['an empty address', ['--healthz-bind-address='], { healthzBindAddress: '', metricsBindAddress: '127.0.0.1:10249' }],
  ['a port of 0', ['--metrics-port=0'], { healthzBindAddress: '0.0.0.0:10256', metricsBindAddress: '' }],
  ['another port does nothing', ['--healthz-port=1'], { healthzBindAddress: '0.0.0.0:10256' }],
] as const)
  t.test(`a server of the proxy is turned off by ${name}`, async t => {
    const { config, warnings } = await loadProxyConfig(['--proxy-mode=nftables', ...argv], files({}))
    t.match(config, expected)
    t.same(
      warnings,
      argv[0] === '--healthz-port=1' ? ['--healthz-port: only 0 means something; a port is given by --healthz-bind-address'] : [],
    )
  })

t.test('what does nothing here is said, field by field, and why', async t => {
  const { warnings } = await loadProxyConfig(
    ['--config=f'],
    proxyFile(
      'mode: nftables\nclientConnection: {qps: 50, kubeconfig: /k}\nnftables: {minSyncPeriod: 2s}\niptables: {minSyncPeriod: 2s}\nenableProfiling: true\nwinkernel: {enableDSR: true}\nfeatureGates: {A: true}\n',
    ),
  )
  t.match(warnings, [
    /^clientConnection\.qps has no effect: .+/,
    /^featureGates has no effect: .+/,
    /^enableProfiling has no effect: .+/,
    /^winkernel has no effect: it is for Windows$/,
    /^nftables\.minSyncPeriod has no effect: .+/,
  ])
  t.equal(warnings.length, 5)
})

t.test('an IPv6 address takes its defaults with it', async t => {
  const { config } = await loadProxyConfig(
    ['--bind-address=::', '--healthz-bind-address=::1', '--proxy-mode=nftables'],
    files({}),
  )
  t.match(config, { healthzBindAddress: '[::1]:10256', metricsBindAddress: '[::1]:10249' })
})

for (const [name, argv, fields, message] of [
  ['an unknown field', ['--config=f'], 'bindAdress: x', 'f: bindAdress: "x": unknown field; did you mean "bindAddress"?'],
  ['an unknown mode', ['--config=f'], 'mode: userspace', /f: mode: "userspace": want one of nftables, iptables, ipvs/],
  ['an address that is none', ['--bind-address=x'], '', '--bind-address: "x": want an IPv4 or IPv6 address'],
  ['a port that is none', ['--healthz-bind-address=1.2.3.4:99999'], '', /--healthz-bind-address: .*want an address and a port/],
  [
    'two ranges of one family',
    ['--cluster-cidr=10.0.0.0/8,11.0.0.0/8'],
    '',
    /--cluster-cidr: "10.0.0.0\/8,11.0.0.0\/8": want a range/,
  ],
  [
    'no bridge for its mode',
    ['--config=f'],
    'detectLocalMode: BridgeInterface',
    'f: detectLocal.bridgeInterface: required with detectLocalMode: BridgeInterface',
  ],
  [
    'periods the wrong way round',
    ['--config=f'],
    'nftables: {syncPeriod: 1s, minSyncPeriod: 2s}',
    /f: nftables.minSyncPeriod: "2s": want at most syncPeriod, 1s/,
  ],
  ['primary among ranges', ['--nodeport-addresses=primary,10.0.0.0/8'], '', /--nodeport-addresses: "primary": want ranges/],
  ['a file that is not there', ['--config=g'], '', '--config: g: no such file'],
] as const) {
  t.test(`the proxy refuses ${name} in one line`, async t => {
    const fault = await loadProxyConfig(argv, proxyFile(fields)).then(
      () => undefined,
      (error: unknown) => error,
    )
    t.ok(isFault(fault, 'bad-config'))
    t.match((fault as Fault).message, message)
  })
}

t.test('the mode that is asked for runs; without one nftables does, and it is said', async t => {
  for (const mode of ['nftables', 'iptables', 'ipvs'] as const) t.same(chooseMode(mode), { mode, warnings: [] })
  t.match(chooseMode(''), { mode: 'nftables', warnings: [/nftables is used/] })
})
