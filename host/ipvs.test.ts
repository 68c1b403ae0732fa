// What ipvsadm prints, read back: the texts are its own (1.31).
import t from 'tap'
import { isFault } from './fault.ts'
import { createIpvs, optionWords, parseConnections, parseServers, serverName } from './ipvs.ts'

const saved = `-A -t 10.96.0.1:443 -s rr -p 10800
-a -t 10.96.0.1:443 -r 10.244.0.5:6443 -m -w 1
-a -t 10.96.0.1:443 -r 10.244.0.6:6443 -m -w 0
-A -u [fd00:96::a]:53 -s wlc
-a -u [fd00:96::a]:53 -r [fd00:244::2]:5353 -m -w 1
-A -f 8193 -s mh -b mh-port
-A -f 8194 -6 -s rr
`

t.test('virtual servers are read with their destinations', async t => {
  const servers = parseServers(saved)
  t.same(
    servers.map(({ key, destinations, ...options }) => [serverName(key), optionWords(options), Object.fromEntries(destinations)]),
    [
      ['-t 10.96.0.1:443', '-s rr -p 10800', { '10.244.0.5:6443': 1, '10.244.0.6:6443': 0 }],
      ['-u [fd00:96::a]:53', '-s wlc', { '[fd00:244::2]:5353': 1 }],
      ['-f 8193', '-s mh -b mh-port', {}],
      ['-f 8194 -6', '-s rr', {}],
    ],
  )
  t.same(
    servers.map(({ key }) => key.family),
    ['IPv4', 'IPv6', 'IPv4', 'IPv6'],
  )
})

t.test('connections are counted per destination', async t => {
  const counts = parseConnections(`IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.0.1:443 rr persistent 10800
  -> 10.244.0.5:6443              Masq    1      3          4
UDP  [fd00:96::a]:53 wlc
  -> [fd00:244::2]:5353           Masq    1      0          0
FWM  8194 IPv6 rr
  -> [fd00:244::2]:5353           Masq    0      1          0
`)
  t.equal(counts.get('-t 10.96.0.1:443')?.get('10.244.0.5:6443'), 7)
  t.equal(counts.get('-u [fd00:96::a]:53')?.get('[fd00:244::2]:5353'), 0)
  t.equal(counts.get('-f 8194 -6')?.get('[fd00:244::2]:5353'), 1)
})

t.test('a line that is refused in the middle is a failure, whatever the exit code says', async t => {
  const ipvs = createIpvs({ try: async () => ({ exitCode: 0, stdout: '', stderr: 'No such service\n' }) })
  await t.rejects(ipvs.restore(['-D -t 10.0.0.1:80', '-A -t 10.0.0.2:80 -s rr']), /did not carry out a change: No such service/)
  await ipvs.restore([])
})

t.test('a kernel without IPVS is told apart from one that still holds our trial', async t => {
  const saying = (stderr: string) => createIpvs({ try: async () => ({ exitCode: 1, stdout: '', stderr }) })
  const probe = { scheduler: 'rr', flags: '' }
  await saying('Service already exists').probe(probe)
  const error = await saying("Can't initialize ipvs: Protocol not available\nAre you sure?")
    .probe(probe)
    .catch(it => it)
  t.ok(isFault(error, 'unsupported'))
  t.match(error.message, "Can't initialize ipvs: Protocol not available; Are you sure?")
})
