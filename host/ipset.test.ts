// What ipset prints, read back: the texts are its own (7.17).
import t from 'tap'
import { createIpsets, parseHeaders } from './ipset.ts'

t.test('headers of sets are read', async t => {
  t.same(
    parseHeaders(`Name: KUBE-CLUSTER-IP
Type: hash:ip,port
Revision: 7
Header: family inet hashsize 1024 maxelem 1048576 bucketsize 12 initval 0x5c5bb8a3
Size in memory: 312
References: 2
Number of entries: 2

Name: KUBE-IPVS-IPS
Type: hash:ip
Revision: 6
Header: family inet hashsize 1024 maxelem 1048576 bucketsize 12 initval 0x00b7ba15
Size in memory: 200
References: 3
Number of entries: 0
`),
    [
      { name: 'KUBE-CLUSTER-IP', type: 'hash:ip,port', entries: 2 },
      { name: 'KUBE-IPVS-IPS', type: 'hash:ip', entries: 0 },
    ],
  )
  t.same(parseHeaders(''), [])
})

t.test('entries come with their options; a set that is not there has none', async t => {
  const said = 'create K hash:ip,port family inet skbinfo\nadd K 10.0.0.1,tcp:80 skbmark 0x2001\n'
  const some = createIpsets({ try: async () => ({ exitCode: 0, stdout: said, stderr: '' }) })
  t.same(await some.entries('K'), ['10.0.0.1,tcp:80 skbmark 0x2001'])
  const none = 'ipset v7.17: The set with the given name does not exist'
  const gone = createIpsets({ try: async () => ({ exitCode: 1, stdout: '', stderr: none }) })
  t.same(await gone.entries('K'), [])
  await t.rejects(gone.restore(['add K 10.0.0.1']), /The set with the given name does not exist/)
})
