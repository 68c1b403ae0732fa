// Our proxy and kube-proxy's pod take turns: never both, and what changes while one step runs is seen after it.
import t from 'tap'
import { createStore } from '../api/source.ts'
import type { Pod } from '../api/types.ts'
import { silentLog } from '../host/log.ts'
import { standAside } from './stand-aside.ts'

const pod = (name: string, labels: Record<string, string>, more: Partial<Pod['metadata']> = {}): Pod => ({
  metadata: { name, namespace: 'kube-system', uid: name, labels, ...more },
  spec: { containers: [] },
})
const kubeProxy = pod('kube-proxy-x', { 'k8s-app': 'kube-proxy' })
const dns = pod('coredns-x', { 'k8s-app': 'kube-dns' })

const settled = () => new Promise(resolve => setImmediate(resolve))

const setUp = async (present: readonly Pod[], end: () => Promise<void> = async () => undefined) => {
  const pods = createStore<Pod>()
  for (const it of present) pods.put(it)
  const steps: string[] = []
  const stop = standAside({
    pods,
    known: Promise.resolve(),
    begin: () => void steps.push('begin'),
    end: async () => {
      steps.push('end')
      await end()
    },
    log: silentLog,
  })
  await settled()
  return { pods, steps, stop }
}

t.test('without kube-proxy our proxy routes, whatever other pods there are', async t => {
  const { steps } = await setUp([dns])
  t.same(steps, ['begin'])
})

t.test('with kube-proxy on the node ours never begins', async t => {
  const { steps } = await setUp([kubeProxy, dns])
  t.same(steps, [])
})

t.test('kube-proxy comes and goes, and comes back: ours ends and begins', async t => {
  const { pods, steps } = await setUp([])
  pods.put(kubeProxy)
  await settled()
  pods.put(pod('kube-proxy-x', { 'k8s-app': 'kube-proxy' }, { deletionTimestamp: '2030-01-01T00:00:00Z' }))
  await settled()
  t.same(steps, ['begin', 'end', 'begin'])
})

t.test('rules that cannot be removed do not keep ours from beginning again', async t => {
  const { pods, steps } = await setUp([], () => Promise.reject(new Error('busy')))
  pods.put(kubeProxy)
  await settled()
  pods.remove('kube-system', 'kube-proxy-x')
  await settled()
  t.same(steps, ['begin', 'end', 'begin'])
})

t.test('after the end nothing more is done', async t => {
  const { pods, steps, stop } = await setUp([])
  stop()
  pods.put(kubeProxy)
  await settled()
  t.same(steps, ['begin'])
})
