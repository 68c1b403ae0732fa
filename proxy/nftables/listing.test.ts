// What nft 1.0.6 prints, read back: sets and maps over several lines, memories of clients, rules that are wrapped, hooks.
import t from 'tap'
import { parseElement, parseListing } from './listing.ts'

const listing = `table ip nodelet-proxy {
	set hairpin {
		type ipv4_addr . ipv4_addr
		elements = { 10.244.1.11 . 10.244.1.11 }
	}

	set node-port-ips {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8, 192.168.50.1 }
	}

	map endpoints-tcp {
		type ipv4_addr . inet_service . mark : ipv4_addr . inet_service
		elements = { 10.96.0.10 . 80 . 0x00000000 : 10.244.1.11 . 8080,
			     10.96.0.10 . 80 . 0x00000001 : 10.244.2.11 . 8080 }
	}

	map empty {
		type inet_proto . inet_service : verdict
	}

	set remembered-by-0 {
		type ipv4_addr . ipv4_addr . inet_proto . inet_service
		size 262144
		flags dynamic,timeout
		elements = { 10.244.1.10 . 10.96.0.10 . tcp . 80 timeout 3h expires 2h59m58s }
	}

	chain services {
		ip daddr . meta l4proto . th dport vmap @service-ips comment "0123456789ab"
		ip saddr { 1.2.3.4, 1.2.3.5,
			   1.2.3.6 } drop comment "with a { in it"
		meta l4proto tcp drop
	}

	chain nat-output {
		type nat hook output priority dstnat; policy accept;
		jump services comment "abcdef012345"
	}
}
`

t.test('a listing', async t => {
  const { sets, chains } = await parseListing(listing, () => undefined)
  t.same(Object.fromEntries([...sets].map(([name, elements]) => [name, Object.fromEntries(elements)])), {
    hairpin: { '10.244.1.11 . 10.244.1.11': '' },
    'node-port-ips': { '10.0.0.0/8': '', '192.168.50.1': '' },
    'endpoints-tcp': {
      '10.96.0.10 . 80 . 0x00000000': '10.244.1.11 . 8080',
      '10.96.0.10 . 80 . 0x00000001': '10.244.2.11 . 8080',
    },
    empty: {},
    'remembered-by-0': { '10.244.1.10 . 10.96.0.10 . tcp . 80': '' },
  })
  t.same(Object.fromEntries(chains), {
    services: {
      hook: undefined,
      policy: undefined,
      rules: [
        { comment: '0123456789ab', text: 'ip daddr . meta l4proto . th dport vmap @service-ips comment "0123456789ab"' },
        { comment: 'with a { in it', text: 'ip saddr { 1.2.3.4, 1.2.3.5, 1.2.3.6 } drop comment "with a { in it"' },
        { comment: undefined, text: 'meta l4proto tcp drop' },
      ],
    },
    'nat-output': {
      hook: 'type nat hook output',
      policy: 'accept',
      rules: [{ comment: 'abcdef012345', text: 'jump services comment "abcdef012345"' }],
    },
  })
})

t.test('the loop is given back while a long listing is read', async t => {
  let pauses = 0
  await parseListing(listing, () => {
    pauses += 1
    return undefined
  })
  t.equal(pauses, listing.split('\n').length)
})

const elements: readonly (readonly [string, string, string, string])[] = [
  ['a member of a set', '10.96.0.1', '10.96.0.1', ''],
  ['one of a map', '10.96.0.1 . tcp . 80 : goto tcp-pick-2', '10.96.0.1 . tcp . 80', 'goto tcp-pick-2'],
  ['one of IPv6', 'fd00::1 . 80 : fd00::2 . 8080', 'fd00::1 . 80', 'fd00::2 . 8080'],
  ['one that ends by itself', '10.0.0.1 timeout 3h expires 2h', '10.0.0.1', ''],
]
t.test('elements', async t => {
  for (const [name, text, key, value] of elements) t.test(name, async t => t.same(parseElement(text), { key, value }))
})
