import t from 'tap'
import type { Container, Pod, PodSecurityContext, SecurityContext } from '../api/types.ts'
import { containerSecurity, namespaceOptions, sandboxSecurity, sandboxSysctls, verifyRunAsNonRoot } from './security.ts'

const container = (securityContext?: SecurityContext): Container => ({
  name: 'c',
  image: 'i',
  ...(securityContext && { securityContext }),
})
const pod = (it: Container, securityContext?: PodSecurityContext, spec: Partial<Pod['spec']> = {}): Pod => ({
  metadata: { name: 'web', namespace: 'default', uid: '1-2' },
  spec: { containers: [it], ...(securityContext && { securityContext }), ...spec },
})
const options = { seccompRoot: '/var/lib/kubelet/seccomp', seccompDefault: false }
const of = (own?: SecurityContext, pods?: PodSecurityContext, more: object = {}, spec: Partial<Pod['spec']> = {}) => {
  const it = container(own)
  return containerSecurity(pod(it, pods, spec), it, { uid: 0 }, { ...options, ...more })
}

for (const [name, given, expected] of [
  [
    'nothing said: the usual, and the user of the image',
    of(),
    {
      privileged: false,
      readonlyRootfs: false,
      noNewPrivs: false,
      runAsUser: { value: 0 },
      seccomp: { profileType: 'Unconfined' },
    },
  ],
  [
    'the pod says who runs',
    of(undefined, { runAsUser: 1000, runAsGroup: 2000 }),
    { runAsUser: { value: 1000 }, runAsGroup: { value: 2000 } },
  ],
  [
    'the container says otherwise, field by field',
    of({ runAsUser: 5 }, { runAsUser: 1000, runAsGroup: 2000 }),
    { runAsUser: { value: 5 }, runAsGroup: { value: 2000 } },
  ],
  [
    'fsGroup is a group of every container',
    of(undefined, { fsGroup: 7, supplementalGroups: [8, 9] }, { extraGroups: [10] }),
    { supplementalGroups: [7, 8, 9, 10] },
  ],
  [
    'capabilities go as they are written',
    of({ capabilities: { add: ['NET_ADMIN', 'CAP_SYS_TIME'], drop: ['ALL'] } }),
    { capabilities: { addCapabilities: ['NET_ADMIN', 'CAP_SYS_TIME'], dropCapabilities: ['ALL'] } },
  ],
  ['privileged', of({ privileged: true }), { privileged: true }],
  ['readOnlyRootFilesystem', of({ readOnlyRootFilesystem: true }), { readonlyRootfs: true }],
  ['allowPrivilegeEscalation false is no_new_privs', of({ allowPrivilegeEscalation: false }), { noNewPrivs: true }],
  ['and true is not', of({ allowPrivilegeEscalation: true }), { noNewPrivs: false }],
  [
    'seccomp of the pod',
    of(undefined, { seccompProfile: { type: 'RuntimeDefault' } }),
    { seccomp: { profileType: 'RuntimeDefault' } },
  ],
  [
    'seccomp of the container wins',
    of({ seccompProfile: { type: 'Unconfined' } }, { seccompProfile: { type: 'RuntimeDefault' } }),
    { seccomp: { profileType: 'Unconfined' } },
  ],
  [
    'seccompDefault is for those who say nothing',
    of(undefined, undefined, { seccompDefault: true }),
    { seccomp: { profileType: 'RuntimeDefault' } },
  ],
  [
    'a Localhost seccomp profile is a file in its folder',
    of({ seccompProfile: { type: 'Localhost', localhostProfile: 'a/b.json' } }),
    { seccomp: { profileType: 'Localhost', localhostRef: '/var/lib/kubelet/seccomp/a/b.json' } },
  ],
  [
    'AppArmor goes in the old way and the new',
    of({ appArmorProfile: { type: 'Localhost', localhostProfile: 'mine' } }),
    { apparmor: { profileType: 'Localhost', localhostRef: 'mine' }, apparmorProfile: 'localhost/mine' },
  ],
  [
    "SELinux of the container takes the place of the pod's",
    of({ seLinuxOptions: { level: 's0' } }, { seLinuxOptions: { user: 'u', level: 's1' } }),
    { selinuxOptions: { level: 's0', user: undefined } },
  ],
  ['an unmasked /proc hides nothing', of({ procMount: 'Unmasked' }), { maskedPaths: [], readonlyPaths: [] }],
] as const) {
  t.test(name, async t => t.match(given, expected))
}

t.test('/proc is masked as runtimes do, and what this machine adds', async t => {
  const { maskedPaths, readonlyPaths } = of(undefined, undefined, { maskedPaths: ['/sys/x'] })
  for (const path of ['/proc/kcore', '/proc/keys', '/proc/interrupts', '/sys/firmware', '/sys/x'])
    t.ok(maskedPaths?.includes(path), path)
  t.same(readonlyPaths, ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'])
})

for (const name of ['../../etc/passwd', '/etc/passwd', 'a/../../b', '..', '']) {
  t.test(`a Localhost seccomp profile ${JSON.stringify(name)} is refused`, async t =>
    t.throws(() => of({ seccompProfile: { type: 'Localhost', localhostProfile: name } }), {
      code: 'container-config',
      reason: 'CreateContainerConfigError',
    }),
  )
}

t.test('an image that names its user by name runs as that', async t => {
  const it = container()
  const security = containerSecurity(pod(it), it, { username: 'nginx' }, options)
  t.equal(security.runAsUsername, 'nginx')
  t.equal(security.runAsUser, undefined)
})

t.test('AppArmor of the old annotation, as static pods carry it', async t => {
  const it = container()
  const given = pod(it)
  const annotations = { 'container.apparmor.security.beta.kubernetes.io/c': 'localhost/old' }
  const annotated = { ...given, metadata: { ...given.metadata, annotations } }
  t.equal(containerSecurity(annotated, it, {}, options).apparmorProfile, 'localhost/old')
})

for (const [name, spec, expected] of [
  [
    "by default the pod shares network and IPC, processes are each container's own",
    {},
    { network: 'POD', ipc: 'POD', pid: 'CONTAINER' },
  ],
  ['shareProcessNamespace shares processes, too', { shareProcessNamespace: true }, { pid: 'POD' }],
  ["the host's", { hostNetwork: true, hostIPC: true, hostPID: true }, { network: 'NODE', ipc: 'NODE', pid: 'NODE' }],
] as const) {
  t.test(`namespaces: ${name}`, async t => t.match(namespaceOptions(pod(container(), undefined, spec)), expected))
}

t.test('namespaces: an ephemeral container sees the processes of its target', async t => {
  const it = container()
  t.match(containerSecurity(pod(it), it, {}, options, 'abc').namespaceOptions, { pid: 'TARGET', targetId: 'abc' })
  const shared = pod(it, undefined, { shareProcessNamespace: true })
  t.match(containerSecurity(shared, it, {}, options, 'abc').namespaceOptions, { pid: 'POD' }, 'unless all are shared anyway')
})

t.test('the sandbox', async t => {
  const given = pod(container({ privileged: true }), {
    runAsUser: 5,
    fsGroup: 7,
    sysctls: [{ name: 'net/core/somaxconn', value: '1024' }],
  })
  t.match(sandboxSecurity(given), {
    privileged: true,
    runAsUser: { value: 5 },
    supplementalGroups: [7],
    seccomp: { profileType: 'RuntimeDefault' },
  })
  t.same(sandboxSysctls(given), { 'net.core.somaxconn': '1024' })
})

const nonRoot = { runAsNonRoot: true }
for (const [name, own, user, message] of [
  [
    'an image that runs as root',
    nonRoot,
    { uid: 0 },
    'container has runAsNonRoot and image will run as root (pod: "web_default(1-2)", container: c)',
  ],
  [
    'an image that names its user by name',
    nonRoot,
    { username: 'nginx' },
    'container has runAsNonRoot and image has non-numeric user (nginx), cannot verify user is non-root (pod: "web_default(1-2)", container: c)',
  ],
  [
    'runAsUser 0',
    { runAsNonRoot: true, runAsUser: 0 },
    { uid: 5 },
    'container\'s runAsUser breaks non-root policy (pod: "web_default(1-2)", container: c)',
  ],
] as const) {
  t.test(`runAsNonRoot refuses ${name}`, async t => {
    const it = container(own)
    t.throws(() => verifyRunAsNonRoot(pod(it), it, user), {
      code: 'container-config',
      reason: 'CreateContainerConfigError',
      message,
    })
  })
}

for (const [name, own, user] of [
  ['an image of another user', nonRoot, { uid: 65_532 }],
  ['runAsUser', { runAsNonRoot: true, runAsUser: 1000 }, { uid: 0 }],
  ['root where nobody minds', {}, { uid: 0 }],
  ['a container that takes back what its pod says', { runAsNonRoot: false }, { uid: 0 }],
] as const) {
  t.test(`runAsNonRoot accepts ${name}`, async t => {
    const it = container(own)
    t.doesNotThrow(() => verifyRunAsNonRoot(pod(it, 'runAsNonRoot' in own ? nonRoot : {}), it, user))
  })
}
