// What counts as a passed and as a failed test of the upstream suite.
import t from 'tap'
import { outcomeOf } from './report.ts'

const spec = (State: string, more: object = {}) => ({
  ...{ LeafNodeType: 'It', LeafNodeText: 'should run', ContainerHierarchyTexts: ['[sig-node] Pods'], State },
  ...more,
})

t.test('tests that ran are counted, those left out are not', async t => {
  t.same(outcomeOf([{ SpecReports: [spec('passed'), spec('skipped'), spec('pending'), spec('passed')] }]), {
    passed: 2,
    failures: [],
  })
})

t.test('a failure has the full name of its test and the reason', async t => {
  const { passed, failures } = outcomeOf([
    { SpecReports: [spec('failed', { Failure: { Message: 'it did not' } }), spec('timedout')] },
  ])
  t.equal(passed, 0)
  t.same(failures, [
    { name: '[sig-node] Pods should run', message: 'it did not' },
    { name: '[sig-node] Pods should run', message: 'timedout' },
  ])
})

t.test('a set-up that fails is a failure, one that succeeds is no test', async t => {
  const setUp = { LeafNodeType: 'SynchronizedBeforeSuite', LeafNodeText: '', ContainerHierarchyTexts: null }
  t.same(outcomeOf([{ SpecReports: [spec('passed', setUp)] }]), { passed: 0, failures: [] })
  t.same(outcomeOf([{ SpecReports: [spec('failed', setUp)] }]).failures, [{ name: 'SynchronizedBeforeSuite', message: 'failed' }])
})

t.test('a run without a single test has passed nothing', async t => {
  t.same(outcomeOf([{ SpecReports: null }]), { passed: 0, failures: [] })
})
