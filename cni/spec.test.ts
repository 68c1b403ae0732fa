import t from 'tap'
import { Fault } from '../host/fault.ts'
import { CniFault, cniCodes, errorReply, formatResult, parseTarget, supportedVersions, versionReply } from './spec.ts'

const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'abc', CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0' }

t.test('a call names its pod when the runtime does', async t =>
  t.same(parseTarget({ ...env, CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=front;K8S_POD_UID=a=b' }), {
    ...{ verb: 'ADD', containerId: 'abc', netns: '/run/netns/x', ifname: 'eth0', pod: 'web/front' },
  }),
)

t.test('DEL needs no namespace, STATUS, GC and VERSION need nothing', async t => {
  t.equal(parseTarget({ ...env, CNI_COMMAND: 'DEL', CNI_NETNS: '' }).netns, '')
  for (const CNI_COMMAND of ['STATUS', 'GC', 'VERSION']) t.equal(parseTarget({ CNI_COMMAND }).verb, CNI_COMMAND)
})

for (const [name, change, message] of [
  ['no command', { CNI_COMMAND: '' }, /CNI_COMMAND is ""/],
  ['an unknown command', { CNI_COMMAND: 'PAUSE' }, /must be one of ADD/],
  ['no container', { CNI_CONTAINERID: '' }, /missing: CNI_CONTAINERID/],
  ['no namespace for ADD', { CNI_NETNS: '' }, /missing: CNI_NETNS/],
  ['a container id with a path in it', { CNI_CONTAINERID: '../x' }, /CNI_CONTAINERID/],
  ['an interface name that is too long', { CNI_IFNAME: 'a234567890123456' }, /CNI_IFNAME/],
  ['an interface name with a slash', { CNI_IFNAME: 'e/0' }, /CNI_IFNAME/],
  ['a namespace with a command in it', { CNI_NETNS: '/run/x\nlink del lo' }, /CNI_NETNS/],
] as const)
  t.test(`${name} is refused with code 4`, async t => {
    t.throws(() => parseTarget({ ...env, ...change }), { cniCode: 4, message })
  })

const result = {
  interfaces: [{ name: 'eth0', mac: '0a:00:00:00:00:01', mtu: 1450, sandbox: '/run/netns/x' }],
  ips: [
    { address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 0 },
    { address: 'fd00::2/64', interface: 0 },
  ],
  routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }],
}
for (const version of supportedVersions)
  t.test(`a result in the words of ${version}`, async t => {
    const printed = JSON.parse(formatResult(result, version)) as {
      cniVersion: string
      ips: { version?: string }[]
      interfaces: { mtu?: number }[]
    }
    t.equal(printed.cniVersion, version)
    t.same(
      printed.ips.map(ip => ip.version),
      version.startsWith('0.') ? ['4', '6'] : [undefined, undefined],
    )
    t.equal(printed.interfaces[0]?.mtu, version === '1.1.0' ? 1450 : undefined)
  })

for (const [name, error, code] of [
  ['a CNI fault has its own code', new CniFault(cniCodes.tryAgainLater, 'io', 'locked'), 11],
  ['an exhausted range has 101', new Fault('address-range', 'none left'), 101],
  ['a wrong configuration has 7', new Fault('bad-config', 'wrong'), 7],
  ['a refusal of the kernel has 100', new Fault('kernel-refused', 'no'), 100],
  ['anything else has 5', new Error('what'), 5],
] as const)
  t.test(name, async t => {
    const reply = errorReply(error, '1.0.0')
    t.equal(reply.exitCode, 1)
    t.match(JSON.parse(reply.stdout), { cniVersion: '1.0.0', code, msg: error.message })
  })

t.test('the cause of an error stands in its details', async t =>
  t.match(JSON.parse(errorReply(new Fault('io', 'not written', { cause: new Error('disk full') }), '1.0.0').stdout), {
    msg: 'not written',
    details: 'disk full',
  }),
)

t.test('VERSION', async t => t.match(JSON.parse(versionReply('0.4.0').stdout), { cniVersion: '0.4.0', supportedVersions }))
