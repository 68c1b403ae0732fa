// How long the proxy that runs alone waits for its Node: for addresses a little and then without, for pod ranges long and then not at all.
import t from 'tap'
import { createStore } from '../../api/source.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { silentLog } from '../../host/log.ts'
import type { ProxyNode } from '../node.ts'
import { whenNodeIsKnown } from './own-node.ts'

const withAddress: ProxyNode = {
  metadata: { name: 'a' },
  status: { addresses: [{ type: 'InternalIP', address: '10.0.0.1' }] },
}
const withRange: ProxyNode = { ...withAddress, spec: { podCIDRs: ['10.244.0.0/24'] } }

const begin = (detectLocalMode: 'ClusterCIDR' | 'NodeCIDR') => {
  const nodes = createStore<ProxyNode>()
  const clock = fakeClock()
  const stopping = new AbortController()
  const outcome = { now: 'waiting' }
  whenNodeIsKnown({ nodes, nodeName: 'a', clock, log: silentLog, config: { detectLocalMode } }, stopping.signal).then(
    () => {
      outcome.now = 'goes on'
    },
    (error: Error) => {
      outcome.now = error.message
    },
  )
  return { nodes, clock, stopping, outcome }
}

t.test('addresses are waited for, for 30 s', async t => {
  const { nodes, clock, outcome } = begin('ClusterCIDR')
  nodes.put({ metadata: { name: 'a' } })
  await clock.advance(29_999)
  t.equal(outcome.now, 'waiting')
  await clock.advance(1)
  t.equal(outcome.now, 'goes on', 'without them')
})

t.test('it goes on as soon as they are there', async t => {
  const { nodes, clock, outcome } = begin('ClusterCIDR')
  nodes.put(withAddress)
  await clock.advance(1)
  t.equal(outcome.now, 'goes on')
})

t.test('NodeCIDR waits for the range of the node, and does not begin without', async t => {
  const there = begin('NodeCIDR')
  there.nodes.put(withAddress)
  await there.clock.advance(200_000)
  t.equal(there.outcome.now, 'waiting')
  there.nodes.put(withRange)
  await there.clock.advance(1)
  t.equal(there.outcome.now, 'goes on')

  const never = begin('NodeCIDR')
  never.nodes.put(withAddress)
  await never.clock.advance(1)
  await never.clock.advance(300_000)
  t.match(never.outcome.now, /NodeCIDR needs spec\.podCIDRs of node a, which has none/)
})

t.test('a signal ends the waiting', async t => {
  const { stopping, clock, outcome } = begin('NodeCIDR')
  stopping.abort()
  await clock.advance(1)
  t.equal(outcome.now, 'goes on')
})
