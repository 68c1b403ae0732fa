import t from 'tap'
import { pods } from '../../api/kube/api.ts'
import type { Pod } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import { namedPod } from '../agent.fake.ts'
import { boundPod, clusterSetup } from './cluster.fake.ts'
import { createMirrors } from './mirror.ts'

const staticPod = (name: string, hash: string): Pod => {
  const pod = namedPod(name, { nodeName: 'n1' }, hash)
  const annotations = { 'kubernetes.io/config.source': 'file', 'kubernetes.io/config.hash': hash }
  return { ...pod, metadata: { ...pod.metadata, annotations } }
}

const mirrored = (nodeUid: () => string | undefined = () => 'uid-of-n1') => {
  const node = clusterSetup()
  const { api, statics, apiserver, live, clock } = node
  const mirrors = createMirrors({ api, statics, apiserver, live, nodeName: 'n1', nodeUid, clock, log: silentLog })
  return { ...node, mirrors }
}

t.test('a static pod runs, and the apiserver shows it with its status under a uid of its own', async t => {
  const { statics, settle, told, state, apiserver } = mirrored()
  statics.put(staticPod('proxy-n1', 'hash-1'))
  await settle()
  t.equal(state('proxy-n1'), 'running')
  t.match(told('proxy-n1'), {
    metadata: {
      annotations: { 'kubernetes.io/config.mirror': 'hash-1', 'kubernetes.io/config.source': 'file' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'n1', uid: 'uid-of-n1', controller: true }],
    },
    spec: { nodeName: 'n1' },
    status: { phase: 'Running', conditions: [{}, {}, {}, {}, {}] },
  })
  t.not(told('proxy-n1')?.metadata.uid, 'hash-1')
  t.equal(apiserver.list().length, 1)
})

t.test('a mirror that somebody deletes is made anew, and its pod goes on', async t => {
  const { api, statics, settle, told, cri } = mirrored()
  statics.put(staticPod('proxy-n1', 'hash-1'))
  await settle()
  const first = told('proxy-n1')?.metadata.uid
  const containers = [...cri.containers.keys()]
  await api.delete({ resource: pods, namespace: 'default', name: 'proxy-n1' })
  await settle()
  t.ok(told('proxy-n1'))
  t.not(told('proxy-n1')?.metadata.uid, first)
  t.equal(told('proxy-n1')?.status?.phase, 'Running')
  t.same([...cri.containers.keys()], containers)
})

t.test('a changed static pod gets another mirror', async t => {
  const { statics, settle, told } = mirrored()
  statics.put(staticPod('proxy-n1', 'hash-1'))
  await settle()
  statics.put(staticPod('proxy-n1', 'hash-2'))
  await settle()
  t.equal(told('proxy-n1')?.metadata.annotations?.['kubernetes.io/config.mirror'], 'hash-2')
  t.equal(told('proxy-n1')?.status?.phase, 'Running')
})

t.test('the mirror goes when its pod is gone', async t => {
  const { statics, settle, told, cri, clock } = mirrored()
  cri.programs.set('a', { ignoresStop: true })
  statics.put(staticPod('proxy-n1', 'hash-1'))
  await settle()
  statics.remove('default', 'proxy-n1')
  await settle()
  t.ok(told('proxy-n1'), 'it still ends')
  await clock.advance(6000)
  await settle()
  t.equal(told('proxy-n1'), undefined)
})

t.test('a mirror of an earlier life whose file is gone is taken away; pods of others stay', async t => {
  const { api, settle, told } = mirrored()
  const left = boundPod('old-n1')
  api.put(pods, { ...left, metadata: { ...left.metadata, annotations: { 'kubernetes.io/config.mirror': 'x' } } })
  api.put(pods, boundPod('web'))
  await settle()
  t.equal(told('old-n1'), undefined)
  t.ok(told('web'))
})

t.test('mirrors wait for the Node, whose uid they name', async t => {
  let uid: string | undefined
  const { statics, settle, told, mirrors, state } = mirrored(() => uid)
  statics.put(staticPod('proxy-n1', 'hash-1'))
  await settle()
  t.equal(told('proxy-n1'), undefined)
  t.equal(state('proxy-n1'), 'running')
  uid = 'uid-of-n1'
  mirrors.retry()
  await settle()
  t.ok(told('proxy-n1'))
})

t.test('what the apiserver refuses is tried again later', async t => {
  const { api, statics, settle, told, clock } = mirrored()
  api.failNext({ verb: 'create' }, new Fault('api-forbidden', 'pods "proxy-n1" is forbidden'))
  statics.put(staticPod('proxy-n1', 'hash-1'))
  await settle()
  t.equal(told('proxy-n1'), undefined)
  await clock.advance(1000)
  await settle()
  t.ok(told('proxy-n1'))
})
