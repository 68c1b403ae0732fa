// Everything written anew while rules route: after each single transaction packets go where they went, clients stay with their
// endpoints, and whatever an attempt that failed has left is taken away by the next one.
import t, { type Test } from 'tap'
import { createSlices } from '../../host/loop.ts'
import type { Nft } from '../../host/nft.ts'
import { service, slice } from '../backend.contract.ts'
import { type Frontend, toFrontends } from '../model.ts'
import { defaultSettings } from '../settings.ts'
import { createNftBackend } from './backend.ts'
import { editionOf, isShared } from './edition.ts'
import { ip } from './ip.ts'
import { fakeNft } from './table.fake.ts'

const settings = { ...defaultSettings, nodeIPs: ['192.168.7.10'] }
const node = { name: 'node-a', zone: '', ips: settings.nodeIPs }
const count = 20
const client = '10.244.1.77'
const at = (index: number) => `10.96.1.${index}`

const frontends = (from = 0): readonly Frontend[] =>
  Array.from({ length: count }, (_, index) =>
    toFrontends(
      service('IPv4', { clusterIP: at(index), clusterIPs: [at(index)], sessionAffinity: 'ClientIP' }, ['TCP']),
      // In another order than before: numbers by the order of coming would be others after a restart.
      [
        slice(
          'IPv4',
          from === 0
            ? { a: { ready: true }, b: { ready: true }, remote: { ready: true } }
            : { remote: { ready: true }, b: { ready: true }, a: { ready: true } },
        ),
      ],
      'IPv4',
      node,
    ),
  ).flat()

/** A kernel that tells after each transaction, and daemons that start on it one after the other. */
const createHost = () => {
  const fake = fakeNft(settings.nodeIPs)
  let onApplied: () => void = () => undefined
  let refuseAt = Number.POSITIVE_INFINITY
  const nft: Nft = {
    ...fake,
    apply: async text => {
      refuseAt -= 1
      if (refuseAt === 0) fake.refuse(1)
      await fake.apply(text)
      onApplied()
    },
  }
  return {
    fake,
    daemon: () =>
      createNftBackend({ nft, words: ip, settings: () => settings, slices: createSlices(performanceClock), perTransaction: 5 }),
    afterEach: (run: () => void) => {
      onApplied = run
    },
    /** Makes the kernel refuse the transaction that many from now, from 1. */
    refuse: (transaction: number) => {
      refuseAt = transaction
    },
    send: (index: number, from = client) => {
      const verdict = fake.walk({ fromNode: false, from, to: at(index), protocol: 'tcp', port: 80 })
      return typeof verdict === 'string' ? verdict : verdict.to
    },
  }
}
const performanceClock = { monotonic: () => performance.now() }

const chosen = (host: ReturnType<typeof createHost>) => Array.from({ length: count }, (_, index) => host.send(index))
const editions = (fake: ReturnType<typeof fakeNft>) => {
  const { chains, sets } = fake.tables.get('ip nodelet-proxy')!
  return [...new Set([...chains.keys(), ...sets.keys()].filter(name => !isShared(name)).map(editionOf))]
}
const hooked = (fake: ReturnType<typeof fakeNft>) =>
  [...fake.tables.get('ip nodelet-proxy')!.chains].filter(([, { hook }]) => hook !== undefined).map(([name]) => name)

t.test('a restart leads packets to the same endpoints after every transaction', async t2 => {
  const host = createHost()
  await host.daemon().full(frontends())
  const before = chosen(host)
  t2.equal(new Set(before).size, 3, 'clients were given different endpoints')
  let transactions = 0
  host.afterEach(() => {
    transactions += 1
    t2.same(chosen(host), before, `after transaction ${transactions}`)
  })
  for (const [restart, edition] of [
    [1, 'second'],
    [2, 'first'],
    [3, 'second'],
  ] as const) {
    const { transactions: told } = await host.daemon().full(frontends(restart))
    t2.equal(told, 6, 'the skeleton, four batches of five, and the switch')
    t2.same(editions(host.fake), [edition], 'of the other edition nothing is left')
    t2.equal(hooked(host.fake).length, 9)
  }
  t2.equal(transactions, 18)
})

t.test('what goes with a restart is gone, and what comes is there', async t2 => {
  const host = createHost()
  await host.daemon().full(frontends())
  await host.daemon().full(frontends().slice(5))
  t2.equal(host.send(0), at(0), 'nobody translates it')
  t2.not(host.send(7), at(7))
})

const failing = async (t2: Test, transaction: number) => {
  const host = createHost()
  await host.daemon().full(frontends())
  const before = chosen(host)
  const daemon = host.daemon()
  host.refuse(transaction)
  await t2.rejects(daemon.full(frontends(1)), { code: 'kernel-refused' })
  t2.same(chosen(host), before, 'the old rules route')
  await daemon.full(frontends(1))
  t2.same(chosen(host), before, 'as do the new ones')
  t2.same(editions(host.fake), ['second'], 'of the old edition nothing is left')
  t2.equal(host.fake.tables.get('ip nodelet-proxy')!.sets.get('service-ips.b')?.elements.size, count)
}
for (const transaction of [1, 2, 4, 6])
  t.test(`a restart whose transaction ${transaction} is refused is repeated without a trace`, t2 => failing(t2, transaction))

t.test('a first sync that failed half way leaves nothing in the way of the next', async t2 => {
  const host = createHost()
  const daemon = host.daemon()
  host.refuse(3)
  await t2.rejects(daemon.full(frontends()), { code: 'kernel-refused' })
  await daemon.full(frontends())
  t2.equal(host.fake.tables.get('ip nodelet-proxy')!.sets.get('service-ips.b')?.elements.size, count)
})

t.test('a table without hooks, as a half flushed one is, is filled anew', async t2 => {
  const host = createHost()
  const daemon = host.daemon()
  await daemon.full(frontends())
  const { chains } = host.fake.tables.get('ip nodelet-proxy')!
  for (const name of hooked(host.fake)) chains.delete(name)
  await daemon.full(frontends())
  t2.same(editions(host.fake), ['first'])
  t2.not(host.send(3), at(3))
})

t.test('clients stay with their endpoints when everything is written anew for another reason', async t2 => {
  const host = createHost()
  const daemon = host.daemon()
  await daemon.full(frontends())
  const before = chosen(host)
  await daemon.full(frontends(1))
  t2.same(chosen(host), before)
})
