// What stands before and after: a restart, a change that is refused, a kube-proxy before or after us, the way out.
import t from 'tap'
import { removeChains } from './backend.ts'
import { many, reaches, service, shown, slice, start } from './kernel.fake.ts'

// Timers of the system clock do not keep a process alive.
const alive = setInterval(() => undefined, 1_000)
t.teardown(() => clearInterval(alive))

for (const variant of ['nft', 'legacy'] as const)
  t.test(`a restart leaves no gap at any moment, iptables-${variant}`, async t2 => {
    const one = start({ variant, perTransaction: 20 })
    many(one, 100)
    await one.sync()
    await one.proxier.stop()
    let commits = 0
    const unreached: number[] = []
    one.tables.IPv4.onCommit = () => {
      commits += 1
      for (let index = 1; index < 100; index++) if (!reaches(one.tables, index)) unreached.push(index)
    }
    const two = start({ variant, perTransaction: 20, tables: one.tables })
    many(two, 101)
    two.services.remove('many', 's0')
    two.slices.remove('many', 's0')
    await two.sync()
    t2.ok(commits > 5, `${commits} commits`)
    t2.same(unreached, [])
    t2.ok(reaches(one.tables, 100), 'the new Service answers')
    t2.notOk(reaches(one.tables, 0), 'the one that went does not')
    const fresh = start({ variant })
    for (const object of two.services.list()) fresh.services.put(object)
    for (const object of two.slices.list()) fresh.slices.put(object)
    await fresh.sync()
    one.tables.IPv4.onCommit = undefined
    t2.same(shown(one.tables), shown(fresh.tables), 'and nothing of before is left')
  })

for (const block of ['nat', 'filter'])
  t.test(`a change that is refused in the table ${block} loses nothing, and everything is written anew`, async t2 => {
    const one = start()
    many(one, 2)
    await one.sync()
    one.tables.IPv4.refuse(1, block)
    one.services.put(service(2))
    one.slices.put(slice(2, [0]))
    const settled = one.proxier.settled()
    while (one.proxier.status().failures === 0) await new Promise(resolve => setImmediate(resolve))
    t2.ok(reaches(one.tables, 0) && reaches(one.tables, 1), 'the old Services still answer')
    t2.match(one.proxier.status(), { failures: 1, lastFailure: /told to refuse/ })
    await settled
    t2.ok(
      [0, 1, 2].every(index => reaches(one.tables, index)),
      'all answer after the full sync',
    )
  })

t.test('a Service of very many ports is written in bounded transactions, the others are routed meanwhile', async t2 => {
  const one = start({ perTransaction: 100 })
  many(one, 3)
  await one.sync()
  let unreached = 0
  one.tables.IPv4.onCommit = () => {
    if (![0, 1, 2].every(index => reaches(one.tables, index))) unreached += 1
  }
  const ports = Array.from({ length: 3_000 }, (_, at) => ({ name: `p${at}`, port: at + 1 }))
  one.tables.IPv4.applied.length = 0
  one.services.put(service(3, { ports, externalIPs: ['203.0.113.3'] }))
  one.slices.put({ ...slice(3, [0, 1]), ports: ports.map(({ name, port }) => ({ name, port })) })
  await one.proxier.settled()
  const lengths = one.tables.IPv4.applied.map(text => text.split('\n:KUBE-').length)
  t2.ok(lengths.length > 50 && lengths.every(length => length < 210), `${lengths.length} transactions`)
  t2.equal(unreached, 0)
  t2.ok(reaches(one.tables, 3))
  one.proxier.resync('a test asks')
  await one.proxier.settled()
  t2.equal(unreached, 0, 'nor when everything is written anew')
  t2.equal(one.proxier.status().failures, 0)
})

const kubeProxy = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-ABCDEFGHIJKLMNOP - [0:0]
:KUBE-SEP-ABCDEFGHIJKLMNOP - [0:0]
:KUBE-PROXY-CANARY - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE
-A KUBE-SERVICES -d 10.96.0.0/32 -p tcp -m comment --comment "many/s0 cluster IP" -m tcp --dport 80 -j KUBE-SVC-ABCDEFGHIJKLMNOP
-A KUBE-SVC-ABCDEFGHIJKLMNOP -j KUBE-SEP-ABCDEFGHIJKLMNOP
-A KUBE-SEP-ABCDEFGHIJKLMNOP -p tcp -m tcp -j DNAT --to-destination 10.100.0.0:8080
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
COMMIT
`

t.test('the rules of a kube-proxy serve until ours stand, and go then; those of others stay', async t2 => {
  for (const perTransaction of [1, 500]) {
    const one = start({ perTransaction })
    await one.tables.IPv4.restore(kubeProxy)
    many(one, 3)
    let gaps = 0
    one.tables.IPv4.onCommit = () => {
      if (!reaches(one.tables, 0)) gaps += 1
    }
    await one.sync()
    one.tables.IPv4.onCommit = undefined
    t2.equal(gaps, 0)
    const chains = [...one.tables.IPv4.tables.get('nat')!.keys()]
    t2.notOk(chains.some(name => name.endsWith('-ABCDEFGHIJKLMNOP')))
    t2.same(one.tables.IPv4.tables.get('nat')!.get('POSTROUTING'), [
      '-m comment --comment "nodelet services" -j KUBE-POSTROUTING',
      '-s 172.17.0.0/16 -j MASQUERADE',
    ])
    t2.same(one.tables.IPv4.tables.get('filter')!.get('INPUT')?.at(-1), '-j KUBE-FIREWALL', "the kubelet's stays")
    await one.proxier.stop()
    t2.ok((await removeChains(one.tables.IPv4)) > 10)
    t2.same(
      [...one.tables.IPv4.tables.get('nat')!.entries()].filter(([name, rules]) => name.startsWith('KUBE-') || rules.length > 0),
      [['POSTROUTING', ['-s 172.17.0.0/16 -j MASQUERADE']]],
      'clean-up leaves what is not ours',
    )
    t2.equal(await removeChains(one.tables.IPv4), 0, 'nothing is left to remove')
  }
})

t.test('clean-up takes only the ways to us where a kube-proxy has come meanwhile: the chains are its own by now', async t2 => {
  const one = start()
  many(one, 3)
  await one.sync()
  await one.proxier.stop()
  await one.tables.IPv4.restore(kubeProxy)
  await removeChains(one.tables.IPv4)
  t2.same(one.tables.IPv4.tables.get('nat')!.get('PREROUTING'), [
    '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
  ])
  t2.ok(reaches(one.tables, 0))
})
