// `nodelet proxy --cleanup`, the program itself: removes the proxy's tables, says which, and touches nobody else's.
import { join } from 'node:path'
import t from 'tap'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { systemClock } from '../../host/clock.ts'
import { silentLog } from '../../host/log.ts'
import { nodeName, service, slice } from '../../proxy/backend.contract.ts'
import { createProxy } from '../../proxy/main.ts'
import { createNetns } from '../support/netns.ts'

const program = join(import.meta.dirname, '../../bin/nodelet')

t.test('nodelet proxy --cleanup removes the rules of Services, and only them', async t => {
  const host = await createNetns()
  t.teardown(host.remove)
  const services = createStore<Service>()
  const endpointSlices = createStore<EndpointSlice>()
  const proxy = await createProxy({
    services,
    endpointSlices,
    nodeName,
    exec: host.exec,
    clock: systemClock,
    log: silentLog,
    prepareKernel: async () => undefined,
  })
  services.put(service('IPv4'))
  endpointSlices.put(slice('IPv4', { a: { ready: true } }))
  services.markSynced()
  endpointSlices.markSynced()
  await proxy.settled()
  await proxy.stop()
  await host.run(['nft', 'add', 'table', 'inet', 'nodelet-cni'])
  await host.run(['nft', 'add', 'table', 'ip', 'kube-proxy'])
  const tables = async () => (await host.run(['nft', 'list', 'tables'])).stdout.trim().split('\n').sort()
  t.same(await tables(), ['table inet nodelet-cni', 'table ip kube-proxy', 'table ip nodelet-proxy', 'table ip6 nodelet-proxy'])

  const first = await host.exec.try([program, 'proxy', '--cleanup'])
  t.same(first, { exitCode: 0, stdout: 'nftables table ip nodelet-proxy\nnftables table ip6 nodelet-proxy', stderr: '' })
  t.same(await tables(), ['table inet nodelet-cni', 'table ip kube-proxy'])
  const second = await host.exec.try([program, 'proxy', '--cleanup'])
  t.same(second, { exitCode: 0, stdout: '', stderr: '' }, 'with nothing to remove it says nothing')
})
