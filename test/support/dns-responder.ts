// Cluster DNS as a program, for inside a namespace of a test: answers on the addresses given as arguments for the Services `web`
// (10.96.7.7, fd00:96::77) and `db` (headless, one pod at 10.244.0.5). Prints `ready PID`; SIGTERM ends it in an orderly way.
import { createDns } from '../../agent/standalone/dns/dns.ts'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import type { Pod } from '../../api/types.ts'
import { systemClock } from '../../host/clock.ts'
import { systemExec } from '../../host/exec.ts'
import { createLink } from '../../host/link.ts'
import { silentLog } from '../../host/log.ts'
import { createNft } from '../../host/nft.ts'

const services = createStore<Service>()
const endpointSlices = createStore<EndpointSlice>()
const pods = createStore<Pod>()
services.put({ metadata: { name: 'web', namespace: 'shop' }, spec: { clusterIPs: ['10.96.7.7', 'fd00:96::77'] } })
services.put({ metadata: { name: 'db', namespace: 'shop' }, spec: { clusterIP: 'None' } })
endpointSlices.put({
  metadata: { name: 'db-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'db' } },
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.244.0.5'], hostname: 'db-0' }],
  ports: [],
})
for (const store of [services, endpointSlices, pods]) store.markSynced()

const dns = createDns({
  services,
  endpointSlices,
  pods,
  addresses: process.argv.slice(2),
  clusterDomain: 'cluster.local',
  serviceCIDRs: ['10.96.0.0/16', 'fd00:96::/112'],
  resolvConf: '/nonexistent',
  clock: systemClock,
  log: silentLog,
  link: createLink(systemExec),
  nft: createNft(systemExec),
})
process.on('SIGTERM', () => dns.stop().then(() => process.exit(0)))
await dns.start()
console.log(`ready ${process.pid}`)
