// Rules as we write them and as iptables-save 1.8.9 prints them are one spelling; rules that say different things are two.
import t from 'tap'
import { spelling, wordsOf } from './spelling.ts'

const same: readonly (readonly [string, string, string])[] = [
  [
    'a Service in its shelf',
    '-d 10.96.0.10/32 -p tcp -m comment --comment "default/web:tcp" --dport 80 -j KUBE-SVC-A',
    '-d 10.96.0.10/32 -p tcp -m comment --comment "default/web:tcp" -m tcp --dport 80 -j KUBE-SVC-A',
  ],
  [
    'an address without its length',
    '-s 10.244.1.11 -d 10.244.1.11 -j MASQUERADE',
    '-s 10.244.1.11/32 -d 10.244.1.11/32 -j MASQUERADE',
  ],
  ['an IPv6 one', '-s fd00::0:1 -j RETURN', '-s fd00::1/128 -j RETURN'],
  ['a range with bits behind its length', '-s 10.1.2.3/8 -j RETURN', '-s 10.0.0.0/8 -j RETURN'],
  ['every source', '-s 0.0.0.0/0 -j KUBE-EXT-A', '-j KUBE-EXT-A'],
  ['a shelf by the last byte', '-d 0.0.0.10/0.0.0.255 -j KUBE-SERVICES-0a', '-d 0.0.0.10/0.0.0.255 -j KUBE-SERVICES-0a'],
  [
    'a draw',
    '-p tcp -m statistic --mode random --probability 0.3333333333 -j DNAT --to-destination 10.1.0.1:80',
    '-p tcp -m statistic --mode random --probability 0.33333333349 -j DNAT --to-destination 10.1.0.1:80',
  ],
  ['a mark that is set', '-j MARK --or-mark 0x00004000', '-j MARK --set-xmark 0x4000/0x4000'],
  ['and one that is taken', '-j MARK --xor-mark 0x00004000', '-j MARK --set-xmark 0x4000/0x0'],
  ['a mark that is looked at', '-m mark ! --mark 0x00004000/0x00004000 -j RETURN', '-m mark ! --mark 0x4000/0x4000 -j RETURN'],
  ['a rejection', '-j REJECT', '-j REJECT --reject-with icmp-port-unreachable'],
  ['states', '-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT', '-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'],
  [
    'a client list',
    '-p udp -m recent --name L --rsource --update --seconds 60 --reap -j DNAT --to-destination 10.1.0.1:53',
    '-p udp -m recent --update --seconds 60 --reap --name L --mask 255.255.255.255 --rsource -j DNAT --to-destination 10.1.0.1:53',
  ],
  ['a comment of one word', '-m comment --comment "web" -j X', '-m comment --comment web -j X'],
]
t.test('one rule, one spelling', async t => {
  for (const [name, ours, saved] of same) t.test(name, async t => t.equal(spelling(ours), spelling(saved)))
})

const different: readonly (readonly [string, string, string])[] = [
  ['another target', '-j KUBE-SVC-A', '-j KUBE-SVC-B'],
  ['a jump and a goto', '-j KUBE-SVC-A', '-g KUBE-SVC-A'],
  ['not', '-s 10.0.0.0/8 -j RETURN', '! -s 10.0.0.0/8 -j RETURN'],
  ['another chance', '--probability 0.5000000000', '--probability 0.50000001'],
  ['another rejection', '-p tcp -j REJECT --reject-with tcp-reset', '-p tcp -j REJECT'],
  ['another port', '-p tcp --dport 80 -j X', '-p tcp --dport 81 -j X'],
  ['nobody and everybody', '! -s 10.0.0.0/8 -j X', '-j X'],
]
t.test('two rules, two spellings', async t => {
  for (const [name, a, b] of different) t.test(name, async t => t.not(spelling(a), spelling(b)))
})

t.test('a quoted text is one word', async t => {
  t.same(wordsOf('-m comment --comment "a b" -j X'), ['-m', 'comment', '--comment', 'a b', '-j', 'X'])
})
