// What a container may do: users, groups, capabilities, seccomp, read-only roots; and what is refused with which words.
import { mkdir, writeFile } from 'node:fs/promises'
import t from 'tap'
import { busyboxImage, peculiarImage } from '../support/images.ts'
import { idle, podOf } from '../support/manifests.ts'
import { createNode, isReady, statusOf, waitingReason } from '../support/node.ts'

const denyMkdir = {
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }],
}
const node = await createNode({
  containerd: { images: [busyboxImage, peculiarImage] },
  prepare: async dir => {
    await mkdir(`${dir}/kubelet/seccomp/profiles`, { recursive: true })
    await writeFile(`${dir}/kubelet/seccomp/profiles/deny.json`, JSON.stringify(denyMkdir))
  },
})
t.setTimeout(0)
// Most of their time is waiting.
t.jobs = 4
t.teardown(() => node.close())

/** A pod of one container for each context, all started together; the container's name is the key. */
const start = async (name: string, contexts: Readonly<Record<string, object>>, spec: object = {}) => {
  const containers = Object.entries(contexts).map(([key, securityContext]) => idle({ name: key, securityContext }))
  await node.write(`${name}.json`, podOf(name, containers, spec as Record<string, unknown>))
  await node.until(name, isReady)
}
const clear = async (name: string) => {
  await node.remove(`${name}.json`)
  await node.gone(name)
}
/** A line of /proc/PID/status of a container's first process. */
const kernelSays = async (pod: string, container: string, field: string) =>
  (await node.exec(pod, ['grep', `^${field}:`, '/proc/1/status'], container)).split(/\s+/)[1]

t.test('users and groups: of the pod, of the container, of the image', async t => {
  const spec = { securityContext: { runAsUser: 1000, runAsGroup: 3000, supplementalGroups: [5000] } }
  await start('users', { pods: {}, own: { runAsUser: 1001, runAsGroup: 3001 } }, spec)
  t.match(await node.exec('users', ['id'], 'pods'), /^uid=1000\(user\) gid=3000 groups=.*\b5000\b/)
  t.match(await node.exec('users', ['id'], 'own'), /^uid=1001 gid=3001 groups=.*\b5000\b/)
  await clear('users')
  await node.write('image.json', podOf('image', idle({ image: peculiarImage })))
  await node.until('image', isReady)
  t.match(await node.exec('image', ['id']), /^uid=1000\(user\) gid=1000/)
  await clear('image')
})

const netAdmin = 1n << 12n

t.test('capabilities, privilege and its escalation', async t => {
  await start('caps', {
    plain: {},
    none: { capabilities: { drop: ['ALL'] }, allowPrivilegeEscalation: false },
    one: { capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } },
    all: { privileged: true },
  })
  const caps = async (container: string) => BigInt(`0x${await kernelSays('caps', container, 'CapEff')}`)
  t.equal((await caps('plain')) & netAdmin, 0n)
  t.not(await caps('plain'), 0n)
  t.equal(await caps('none'), 0n)
  t.equal(await caps('one'), netAdmin)
  t.equal((await caps('all')) & netAdmin, netAdmin)
  t.equal(await kernelSays('caps', 'plain', 'NoNewPrivs'), '0')
  t.equal(await kernelSays('caps', 'none', 'NoNewPrivs'), '1')
  const sees = async (container: string) => (await node.exec('caps', ['ls', '/dev'], container)).split('\n').length
  t.ok((await sees('all')) > (await sees('plain')), "the privileged one sees the machine's devices")
  t.not((await node.tryExec('caps', ['touch', '/proc/sys/kernel/x'], 'plain')).exitCode, 0)
  t.equal(await node.exec('caps', ['sh', '-c', 'head -c 1 /proc/kcore | wc -c'], 'plain'), '0', '/proc/kcore is masked')
  await clear('caps')
})

t.test('seccomp: the default, none, a profile of the node', async t => {
  await start('seccomp', {
    'by-default': { seccompProfile: { type: 'RuntimeDefault' } },
    none: { seccompProfile: { type: 'Unconfined' } },
    unsaid: {},
    local: { seccompProfile: { type: 'Localhost', localhostProfile: 'profiles/deny.json' } },
  })
  t.equal(await kernelSays('seccomp', 'by-default', 'Seccomp'), '2')
  t.equal(await kernelSays('seccomp', 'none', 'Seccomp'), '0')
  t.equal(await kernelSays('seccomp', 'unsaid', 'Seccomp'), '0', 'as long as seccompDefault is off')
  t.match((await node.tryExec('seccomp', ['mkdir', '/tmp/x'], 'local')).stderr, /Operation not permitted/)
  await clear('seccomp')
})

t.test('a read-only root can be read, and written where a volume is', async t => {
  const container = idle({
    securityContext: { readOnlyRootFilesystem: true },
    volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }],
  })
  await node.write('ro.json', podOf('ro', container, { volumes: [{ name: 'tmp', emptyDir: {} }] }))
  await node.until('ro', isReady)
  t.match((await node.tryExec('ro', ['touch', '/etc/x'])).stderr, /Read-only file system/)
  await node.exec('ro', ['touch', '/tmp/x'])
  await clear('ro')
})

for (const [name, container, message] of [
  [
    'root-image',
    { securityContext: { runAsNonRoot: true } },
    /^container has runAsNonRoot and image will run as root \(pod: "root-image-n1_default\([0-9a-f]+\)", container: c\)$/,
  ],
  [
    'root-user',
    { securityContext: { runAsNonRoot: true, runAsUser: 0 } },
    /^container's runAsUser breaks non-root policy \(pod: "root-user-n1_default\([0-9a-f]+\)", container: c\)$/,
  ],
  [
    'named-user',
    { image: peculiarImage, securityContext: { runAsNonRoot: true } },
    /^container has runAsNonRoot and image has non-numeric user \(user\), cannot verify user is non-root/,
  ],
  [
    'no-profile',
    { securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'missing.json' } } },
    /missing\.json/,
  ],
] as const) {
  t.test(`refused with the kubelet's words: ${name}`, async t => {
    await node.write(`${name}.json`, podOf(name, idle(container)))
    const pod = await node.until(name, it => /^Create/.test(waitingReason(it) ?? '') && statusOf(it)?.state?.waiting?.message)
    t.match(statusOf(pod)?.state?.waiting?.message, message)
    t.match((await node.cli(['get', 'pods', name])).stdout, /0\/1 +CreateContainer(Config)?Error +0 /)
    await node.remove(`${name}.json`)
    await node.gone(name)
  })
}

t.test('a user that is not root passes runAsNonRoot', async t => {
  await start('non-root', { c: { runAsNonRoot: true, runAsUser: 1000 } })
  t.pass('it runs')
  await clear('non-root')
})

t.test('safe sysctls are set, others turn the pod away', async t => {
  const sysctls = (name: string, value: string) => ({ securityContext: { sysctls: [{ name, value }] } })
  await node.write('sysctl.json', [
    podOf('safe', idle(), sysctls('net.ipv4.ip_local_port_range', '20000 21000')),
    podOf('unsafe', idle(), sysctls('kernel.msgmax', '65536')),
  ])
  await node.until('safe', isReady)
  t.equal(await node.exec('safe', ['cat', '/proc/sys/net/ipv4/ip_local_port_range']), '20000\t21000')
  const unsafe = await node.until('unsafe', it => it.status?.phase === 'Failed')
  t.match(unsafe.status, { reason: 'SysctlForbidden' })
  await node.remove('sysctl.json')
  await Promise.all([node.gone('safe'), node.gone('unsafe')])
})
