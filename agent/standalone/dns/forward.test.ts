import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { encode } from 'dns-packet'
import t from 'tap'
import { fakeClock } from '../../../host/clock.fake.ts'
import { Fault } from '../../../host/fault.ts'
import { silentLog } from '../../../host/log.ts'
import { createForwarder } from './forward.ts'
import { createNameservers, parseNameservers } from './resolv-conf.ts'
import type { Exchange } from './upstream.ts'
import { questionFor, rcodeOf, readReply } from './wire.ts'

const servers = ['10.0.0.1', '10.0.0.2'].map(address => ({ address, port: 53 }))
const asked = (name: string) => ({ question: questionFor(name, 'A'), dnssecOk: false, checkingDisabled: false })
const good = (name: string, ttl = 20): Buffer =>
  encode({ type: 'response', questions: [{ name, type: 'A' }], answers: [{ type: 'A', name, ttl, data: '1.2.3.4' }] })
const failing = (name: string, rcode: number): Buffer =>
  encode({ type: 'response', flags: rcode, questions: [{ name, type: 'A' }] })

const setup = (
  answer: (address: string, name: string) => Promise<Buffer>,
  more: { maxUnderWay?: number; maxKept?: number } = {},
) => {
  const clock = fakeClock()
  const calls: string[] = []
  const exchange: Exchange = (server, { question }) => {
    calls.push(`${server.address} ${question.name}`)
    return answer(server.address, question.name)
  }
  const forwarder = createForwarder({ clock, log: silentLog, exchange, servers: async () => servers, ...more })
  const lookup = async (name: string) => readReply(await forwarder.lookup(asked(name)))
  return { clock, calls, forwarder, lookup }
}

t.test('an answer is kept as long as it lives, and gets older', async t => {
  const { clock, calls, lookup } = setup(async (_, name) => good(name))
  t.match(await lookup('a.example'), { answers: [{ ttl: 20 }] })
  await clock.advance(15_000)
  t.match(await lookup('A.example'), { answers: [{ ttl: 5 }] }, 'whatever the case of its letters')
  t.equal(calls.length, 1)
  await clock.advance(5_000)
  await lookup('a.example')
  t.equal(calls.length, 2)
})

t.test('no answer is kept for more than 30 seconds', async t => {
  const { clock, calls, lookup } = setup(async (_, name) => good(name, 86_400))
  await lookup('a.example')
  await clock.advance(30_000)
  await lookup('a.example')
  t.equal(calls.length, 2)
})

t.test('no more answers are kept than there is room for', async t => {
  const { calls, lookup } = setup(async (_, name) => good(name), { maxKept: 2 })
  for (const name of ['a', 'b', 'c', 'b', 'c', 'a']) await lookup(name)
  t.same(
    calls.map(call => call.split(' ')[1]),
    ['a', 'b', 'c', 'a'],
  )
})

t.test('the next server is asked when one does not answer, and the silent one comes last for a while', async t => {
  const { clock, calls, lookup } = setup(async (address, name) => {
    if (address === '10.0.0.1') throw new Fault('network', 'silent')
    return good(name, 0)
  })
  await lookup('a')
  await lookup('b')
  t.same(calls, ['10.0.0.1 a', '10.0.0.2 a', '10.0.0.2 b'])
  await clock.advance(10_000)
  await lookup('c')
  t.same(calls.slice(3), ['10.0.0.1 c', '10.0.0.2 c'])
})

t.test('the next server is asked when one refuses or fails', async t => {
  const { calls, lookup } = setup(async (address, name) => (address === '10.0.0.1' ? failing(name, 5) : good(name)))
  t.match(await lookup('a'), { rcode: 0 })
  t.equal(calls.length, 2)
})

t.test('that a name does not exist is an answer', async t => {
  const { calls, lookup } = setup(async (_, name) => failing(name, 3))
  t.match(await lookup('a'), { rcode: 3 })
  t.equal(calls.length, 1)
})

t.test('SERVFAIL when nobody answers in two rounds', async t => {
  const { calls, lookup } = setup(async () => {
    throw new Fault('network', 'silent')
  })
  t.match(await lookup('a'), { rcode: 2 })
  t.equal(calls.length, 4)
})

t.test('nobody waits longer than five seconds', async t => {
  const parts = setup(async () => {
    await parts.clock.advance(2_000)
    throw new Fault('network', 'silent')
  })
  await parts.lookup('a')
  t.equal(parts.calls.length, 3)
})

t.test('SERVFAIL at once when the node has no name servers', async t => {
  const exchange: Exchange = async () => {
    throw new Error('nobody to ask')
  }
  const forwarder = createForwarder({ clock: fakeClock(), log: silentLog, exchange, servers: async () => [] })
  t.equal(rcodeOf(await forwarder.lookup(asked('a'))), 2)
})

t.test('equal questions under way are one, and too many different ones are refused', async t => {
  const { promise, resolve } = Promise.withResolvers<Buffer>()
  const { calls, lookup } = setup(() => promise, { maxUnderWay: 1 })
  const both = [lookup('a'), lookup('a')]
  t.match(await lookup('b'), { rcode: 2 })
  resolve(good('a'))
  for (const one of both) t.match(await one, { rcode: 0 })
  t.equal(calls.length, 1)
})

t.test('name servers are read from resolv.conf', async t => {
  const text =
    '# c\nsearch example.com\nnameserver 10.0.0.1\n nameserver fe80::1%eth0\nnameserver nonsense\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n'
  t.same(parseNameservers(text), ['10.0.0.1', 'fe80::1%eth0', '10.0.0.3'])
})

t.test('we are never our own name server, and a file that changes is read again', async t => {
  const clock = fakeClock()
  const path = join(t.testdir({ 'resolv.conf': 'nameserver 10.96.0.10\nnameserver 10.0.0.1\n' }), 'resolv.conf')
  const nameservers = createNameservers({ path, clock, own: ['10.96.0.10'] })
  t.same(await nameservers(), [{ address: '10.0.0.1', port: 53 }])
  await writeFile(path, 'nameserver 10.0.0.2\n')
  await clock.advance(5_000)
  t.same(await nameservers(), [{ address: '10.0.0.2', port: 53 }])
  t.same(await createNameservers({ path: `${path}.none`, clock, own: [] })(), [])
})
