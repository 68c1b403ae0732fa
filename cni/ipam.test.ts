import t from 'tap'
import { formatAddress, parseAddress } from '../host/address.ts'
import { toRangeSets } from './conf.ts'
import { nextAddress } from './ipam.ts'

const setOf = (...ranges: Parameters<typeof toRangeSets>[0][number]) => toRangeSets([ranges])[0] ?? []

for (const [name, set, taken, last, expected] of [
  ['the first address behind the gateway comes first', setOf({ subnet: '10.0.0.0/24' }), [], undefined, '10.0.0.2'],
  ['the one behind the last follows', setOf({ subnet: '10.0.0.0/24' }), ['10.0.0.2'], '10.0.0.2', '10.0.0.3'],
  ['a freed one waits until the range came round', setOf({ subnet: '10.0.0.0/24' }), [], '10.0.0.9', '10.0.0.10'],
  ['taken ones are passed over', setOf({ subnet: '10.0.0.0/24' }), ['10.0.0.3', '10.0.0.4'], '10.0.0.2', '10.0.0.5'],
  ['broadcast is nobody’s: it begins again', setOf({ subnet: '10.0.0.0/24' }), [], '10.0.0.254', '10.0.0.2'],
  ['the last one itself is free again', setOf({ subnet: '10.0.0.0/30' }), [], '10.0.0.2', '10.0.0.2'],
  ['an exhausted range gives nothing', setOf({ subnet: '10.0.0.0/30' }), ['10.0.0.2'], '10.0.0.2', undefined],
  [
    'a gateway in the middle is passed over',
    setOf({ subnet: '10.0.0.0/29', gateway: '10.0.0.3' }),
    ['10.0.0.1'],
    '10.0.0.2',
    '10.0.0.4',
  ],
  [
    'rangeStart and rangeEnd bound it',
    setOf({ subnet: '10.0.0.0/24', rangeStart: '10.0.0.50', rangeEnd: '10.0.0.51' }),
    ['10.0.0.50', '10.0.0.51'],
    '10.0.0.51',
    undefined,
  ],
  [
    'the next range of the set follows',
    setOf({ subnet: '10.0.0.0/30' }, { subnet: '10.1.0.0/30' }),
    ['10.0.0.2'],
    '10.0.0.2',
    '10.1.0.2',
  ],
  [
    'and the first after the last',
    setOf({ subnet: '10.0.0.0/30' }, { subnet: '10.1.0.0/30' }),
    ['10.1.0.2'],
    '10.1.0.2',
    '10.0.0.2',
  ],
  ['a last one out of another configuration is no start', setOf({ subnet: '10.0.0.0/24' }), [], '192.168.0.7', '10.0.0.2'],
  [
    'IPv6 has no broadcast, and leaves out the routers’ address',
    setOf({ subnet: 'fd00::/126' }),
    ['fd00::2'],
    'fd00::2',
    'fd00::3',
  ],
  ['a range of two addresses has both', setOf({ subnet: '10.0.0.0/31' }), [], undefined, '10.0.0.1'],
] as const)
  t.test(name, async t => {
    const chosen = nextAddress(
      set,
      text => (taken as readonly string[]).includes(text),
      last === undefined ? undefined : parseAddress(last),
    )
    t.equal(chosen && formatAddress(chosen.ip), expected)
  })

t.test('every address of a range is given away once', async t => {
  const given = new Set<string>()
  for (let last: ReturnType<typeof parseAddress>; ; ) {
    const chosen = nextAddress(setOf({ subnet: '10.0.0.0/26' }), text => given.has(text), last)
    if (chosen === undefined) break
    last = chosen.ip
    given.add(formatAddress(chosen.ip))
  }
  t.equal(given.size, 61)
})
