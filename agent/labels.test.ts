import t from 'tap'
import { containerHash, containerLogPath, legacyLogName } from './labels.ts'

t.test('the hash is the one that kubelet 1.36 computes for the same name and image', async t => {
  t.equal(containerHash({ name: 'c', image: 'busybox:1' }), '1aaabc84')
})

t.test('log paths are the kubelet’s', async t => {
  const pod = { metadata: { name: 'web', namespace: 'shop', uid: 'u1' }, spec: { containers: [] } }
  t.equal(containerLogPath('c', 3), 'c/3.log')
  t.equal(legacyLogName(pod, 'c', 'abc'), 'web_shop_c-abc.log')
})
