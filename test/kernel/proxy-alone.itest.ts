// `nodelet proxy`, the program itself, without a daemon beside it: it is asked why a packet does not arrive and what the kernel holds, as
// the daemon is. That it routes as kube-proxy does is tried in test/cluster/proxy.itest.ts.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { addresses, nodeName, service, slice } from '../../proxy/backend.contract.ts'
import { createNetns } from '../support/netns.ts'
import { startProgram } from '../support/programs.ts'
import { waitFor } from '../support/wait.ts'

const program = join(import.meta.dirname, '../../bin/nodelet')
const server = 'http://127.0.0.1:6443'
const { cluster, node, endpoints } = addresses.IPv4

t.test('trace and diff ask a proxy that runs alone', { timeout: 60_000 }, async t => {
  const host = await createNetns()
  const folder = await mkdtemp(join(tmpdir(), 'nlt-proxy-alone-'))
  t.teardown(async () => {
    await host.remove()
    await rm(folder, { recursive: true, force: true })
  })
  const at = (name: string) => join(folder, name)
  const write = (name: string, value: object) => writeFile(at(name), JSON.stringify(value))
  const versioned = <T extends { metadata: object }>(object: T) => ({
    ...object,
    metadata: { ...object.metadata, uid: 'u', resourceVersion: '1' },
  })
  await write('told', {
    '/api/v1/services': [versioned(service('IPv4'))],
    '/apis/discovery.k8s.io/v1/endpointslices': [versioned(slice('IPv4', { a: { ready: true }, b: { ready: false } }))],
    '/api/v1/nodes': [
      versioned({ metadata: { name: nodeName }, status: { addresses: [{ type: 'InternalIP', address: node }] } }),
    ],
  })
  await write('kubeconfig', {
    ...{
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    },
    ...{ clusters: [{ name: 'c', cluster: { server } }], users: [{ name: 'u', user: { token: 't' } }] },
  })
  await write('config', {
    ...{ apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration', mode: 'nftables' },
    ...{ hostnameOverride: nodeName, clusterCIDR: '10.244.0.0/16', conntrack: { maxPerCore: 0 }, oomScoreAdj: 0 },
    clientConnection: { kubeconfig: at('kubeconfig') },
  })
  const told = [process.execPath, join(import.meta.dirname, '../support/told-apiserver.ts'), '6443', at('told')]
  await startProgram({ netns: host, log: at('told.log'), argv: told })
  const proxy = await startProgram({
    ...{ netns: host, log: at('log') },
    argv: [program, 'proxy', '--config', at('config'), '--socket', at('proxy.sock')],
  })
  const ask = (...argv: readonly string[]) => host.exec.try([program, ...argv, '--socket', at('proxy.sock')])
  const trace = (...more: readonly string[]) => ask('trace', `${cluster}:80`, '--proto', 'tcp', ...more)
  await waitFor('the rules', async () => (await trace()).stdout.includes('holds what it should'), 20_000).catch(async error => {
    throw new Error(await readFile(at('log'), 'utf8'), { cause: error })
  })

  const words = await trace('--from', addresses.IPv4.pod)
  t.match(words.stdout, /^default\/web from 10\.244\.1\.10$/m)
  t.match(words.stdout, new RegExp(`${endpoints.a}:8080 +used`))
  t.match(words.stdout, new RegExp(`${endpoints.b}:8080 +NOT USED +not ready`))
  t.match(words.stdout, /verdict: table ip nodelet-proxy holds what it should/)
  t.match(JSON.parse((await trace('-o', 'json')).stdout), { service: 'default/web' })
  const byPod = await trace('--from', 'client-1')
  t.equal(byPod.exitCode, 1)
  t.match(byPod.stderr, /this proxy runs alone and knows no pods: name the caller by its address/)

  const same = await ask('diff')
  t.equal(same.exitCode, 0, same.stdout)
  t.match(same.stdout, /The kernel holds what it should: \d+ pieces compared \(nftables\)/)
  await host.run(['nft', 'add', 'rule', 'ip', 'nodelet-proxy', 'services', 'counter', 'comment', '"mine"'])
  const other = await ask('diff')
  t.equal(other.exitCode, 1)
  t.match(other.stdout, /\+ foreign +table ip nodelet-proxy: rule in chain services/)

  await proxy.end('SIGTERM')
  t.match((await ask('diff')).stderr, /no nodelet daemon answers at .*proxy\.sock/)
})
