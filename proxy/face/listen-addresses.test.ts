// Where health check ports are served: as node ports are, in one listener where a whole family is.
import t from 'tap'
import { defaultSettings, type ProxySettings } from '../settings.ts'
import { listenAddresses } from './listen-addresses.ts'

const local = () => ['127.0.0.1', '10.0.0.1', '10.0.0.2', '192.168.0.1', '::1', 'fd00::1']
const on = (nodePortAddresses: ProxySettings['nodePortAddresses']): ProxySettings => ({
  ...defaultSettings,
  nodeIPs: ['10.0.0.1', 'fd00::1'],
  nodePortAddresses,
})

for (const [name, addresses, family, expected] of [
  ["the node's own address of the family", 'primary', 'IPv4', ['10.0.0.1']],
  ['and of the other', 'primary', 'IPv6', ['fd00::1']],
  ['all addresses are one listener', ['0.0.0.0/0', '::/0'], 'IPv4', ['0.0.0.0']],
  ['of each family', ['0.0.0.0/0', '::/0'], 'IPv6', ['::']],
  ['ranges choose among the local addresses', ['10.0.0.0/24', '127.0.0.0/8'], 'IPv4', ['127.0.0.1', '10.0.0.1', '10.0.0.2']],
  ['ranges of one family leave the other out', ['10.0.0.0/24'], 'IPv6', []],
] as const)
  t.test(name, async t => t.same(listenAddresses(on(addresses), family, local), expected))
