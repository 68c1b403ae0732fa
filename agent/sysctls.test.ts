import t from 'tap'
import type { Pod } from '../api/types.ts'
import { isKernelAtLeast, refusedSysctl, toSysctlAllowList, toSysctlName } from './sysctls.ts'

const allowed = toSysctlAllowList('6.1.0-18-amd64', ['kernel.msg*', 'kernel.sem', 'net.b.*'])
const setting = (name: string, spec: Partial<Pod['spec']> = {}): Pod => ({
  metadata: { name: 'p' },
  spec: { containers: [], securityContext: { sysctls: [{ name, value: '1' }] }, ...spec },
})

for (const [name, given, expected] of [
  ['a safe one', setting('net.ipv4.ip_local_port_range'), undefined],
  ['a safe one with slashes', setting('kernel/shm_rmid_forced'), undefined],
  ['one that is allowed by name', setting('kernel.sem'), undefined],
  ['one that is allowed by prefix', setting('kernel.msgmax'), undefined],
  ['one that nobody allowed', setting('net.a.b.c'), 'forbidden sysctl: "net.a.b.c" not allowlisted'],
  [
    'one that is longer than an allowed name',
    setting('net.ipv4.ip_local_port_range.a'),
    'forbidden sysctl: "net.ipv4.ip_local_port_range.a" not allowlisted',
  ],
  [
    "one of the host's network",
    setting('net.b.c', { hostNetwork: true }),
    'forbidden sysctl: "net.b.c" not allowed with host Net enabled',
  ],
  [
    "one of the host's IPC",
    setting('kernel.sem', { hostIPC: true }),
    'forbidden sysctl: "kernel.sem" not allowed with host IPC enabled',
  ],
] as const) {
  t.test(name, async t => t.equal(refusedSysctl(given, allowed), expected))
}

for (const bad of ['foo', 'foo*', ' kernel.msg*', 'net.-', 'net.*.foo', 'kernel.hostname']) {
  t.test(`${JSON.stringify(bad)} cannot be allowed`, async t =>
    t.throws(() => toSysctlAllowList('6.1', [bad]), { code: 'bad-config' }),
  )
}

t.test('an old kernel has fewer safe ones', async t => {
  const old = toSysctlAllowList('4.14.0')
  t.ok(old.exact.has('net.ipv4.tcp_fin_timeout'))
  t.notOk(old.exact.has('net.ipv4.tcp_rmem'))
})

for (const [release, version, expected] of [
  ['6.1.0-18-amd64', '4.15', true],
  ['4.15.0', '4.15', true],
  ['4.9.1', '4.15', false],
  ['10.0', '4.15', true],
] as const) {
  t.test(`kernel ${release} is at least ${version}: ${expected}`, async t => t.equal(isKernelAtLeast(release, version), expected))
}

t.test('a name with slashes first has dots inside its parts', async t =>
  t.equal(toSysctlName('net/ipv4/conf/eno2.100/rp_filter'), 'net.ipv4.conf.eno2/100.rp_filter'),
)
