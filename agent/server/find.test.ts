import t from 'tap'
import type { ContainerStatus } from '../../api/pod-status.ts'
import type { Pod } from '../../api/types.ts'
import { findAttempt, findContainer, findPod, runningId } from './find.ts'

const pod = (name: string, namespace = 'default', statuses: readonly Partial<ContainerStatus>[] = []): Pod => ({
  metadata: { name, namespace, uid: `uid-${name}` },
  spec: {
    nodeName: 'node1',
    containers: [
      { name: 'web', image: 'i' },
      { name: 'side', image: 'i' },
    ],
  },
  status: {
    phase: 'Running',
    containerStatuses: statuses.map(it => ({ name: 'web', ready: true, restartCount: 0, image: '', imageID: '', ...it })),
  },
})

const pods = [pod('web-node1'), pod('web-2-node1'), pod('dns', 'kube-system')]

for (const [name, namespace, asked, found] of [
  ['its whole name', 'default', 'web-node1', 'web-node1'],
  ['its name in the manifest', 'default', 'web', 'web-node1'],
  ['the name of a pod that is not static', 'kube-system', 'dns', 'dns'],
] as const) {
  t.test(`a pod is found by ${name}`, async t => t.equal(findPod(pods, namespace, asked).metadata.name, found))
}

for (const [name, namespace, asked, message] of [
  [
    'a slip of the finger is answered with what comes near',
    'default',
    'wbe',
    'pods "wbe" not found in namespace "default"; there is web-node1',
  ],
  [
    'a pod of another namespace is named with it',
    'default',
    'dns',
    'pods "dns" not found in namespace "default"; there is kube-system/dns',
  ],
  ['what resembles nothing is just not there', 'default', 'postgres', 'pods "postgres" not found in namespace "default"'],
] as const) {
  t.test(name, async t => t.throws(() => findPod(pods, namespace, asked), { code: 'not-found', message }))
}

t.test('the container is the one that is named, the default one, or the first', async t => {
  const annotated: Pod = {
    ...pod('p'),
    metadata: { name: 'p', annotations: { 'kubectl.kubernetes.io/default-container': 'side' } },
  }
  t.equal(findContainer(pod('p'), 'side'), 'side')
  t.equal(findContainer(pod('p'), undefined), 'web')
  t.equal(findContainer(annotated, undefined), 'side')
  t.throws(() => findContainer(pod('p'), 'db'), { message: 'container db is not valid for pod p; it has web, side' })
})

const running = { state: { running: { startedAt: '' } } }
const crashed = { state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated: { exitCode: 1 } } }
for (const [name, status, previous, files, attempt] of [
  ['the log of a container is that of its newest attempt', running, false, ['0.log', '10.log', '9.log', '9.log.20260102'], 10],
  ['that of the one before is asked for by previous', running, true, ['0.log', '10.log', '9.log'], 9],
  ['while it waits to be started again, both are the one that ended', crashed, true, ['0.log', '1.log'], 1],
  ['also without previous', crashed, false, ['0.log', '1.log'], 1],
] as const) {
  t.test(name, async t => t.equal(findAttempt(pod('p', 'default', [status]), 'web', previous, files), attempt))
}

t.test('a log that is not there says why', async t => {
  const waiting = { state: { waiting: { reason: 'ErrImagePull' } } }
  t.throws(() => findAttempt(pod('p', 'default', [waiting]), 'web', false, []), {
    message: 'container "web" in pod "p" is waiting to start: ErrImagePull',
  })
  t.throws(() => findAttempt(pod('p', 'default', [running]), 'web', true, ['0.log']), {
    message: 'previous terminated container "web" in pod "p" not found',
  })
})

t.test('only a container that runs can be entered', async t => {
  t.equal(runningId(pod('p', 'default', [{ ...running, containerID: 'containerd://abc' }]), 'web'), 'abc')
  t.throws(() => runningId(pod('p', 'default', [crashed]), 'web'), {
    message: 'container "web" in pod "p" does not run (CrashLoopBackOff)',
  })
  t.throws(() => runningId(pod('p'), 'web'), { message: 'container "web" in pod "p" does not run (not created yet)' })
})
