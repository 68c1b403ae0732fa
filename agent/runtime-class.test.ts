import t from 'tap'
import { createStore } from '../api/source.ts'
import type { Pod } from '../api/types.ts'
import { fakeClock } from '../host/clock.fake.ts'
import { createRuntimeClasses, type RuntimeClass } from './runtime-class.ts'

const podOf = (runtimeClassName?: string): Pod => ({
  metadata: { name: 'web' },
  spec: { containers: [], ...(runtimeClassName !== undefined && { runtimeClassName }) },
})
const bench = () => {
  const clock = fakeClock()
  const store = createStore<RuntimeClass>()
  let watches = 0
  const classes = createRuntimeClasses({
    watch: () => {
      watches += 1
      return Object.assign(store, { stop: () => undefined })
    },
    clock,
  })
  return { clock, store, classes, watches: () => watches }
}

t.test('a pod without a class has the default handler, and nobody is asked', async t => {
  const { classes, watches } = bench()
  t.equal(await classes.handlerOf(podOf()), '')
  t.equal(await classes.handlerOf(podOf('')), '')
  t.equal(watches(), 0)
})

t.test('the handler of a class is found once the classes are known', async t => {
  const { classes, store, watches } = bench()
  const found = Promise.all([classes.handlerOf(podOf('sand')), classes.handlerOf(podOf('sand'))])
  store.put({ metadata: { name: 'sand' }, handler: 'runsc' })
  store.markSynced()
  t.same(await found, ['runsc', 'runsc'])
  t.equal(watches(), 1)
})

t.test('a class that is not there is named', async t => {
  const { classes, store } = bench()
  store.markSynced()
  await t.rejects(classes.handlerOf(podOf('sand')), {
    code: 'sandbox-create',
    message: 'runtimeclass.node.k8s.io "sand" not found',
    retry: 'backoff',
  })
})

t.test('without an answer of the apiserver a pod is not kept waiting for ever', async t => {
  const { classes, clock } = bench()
  const refused = t.rejects(classes.handlerOf(podOf('sand')), { message: /^failed to lookup RuntimeClass sand/ })
  await clock.advance(5_000)
  await refused
})
