// The daemon on a machine of its own, with and without a KubeProxyConfiguration: with one it is seen as kube-proxy is, and obeys it.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createNetns } from '../support/netns.ts'
import { startProgram } from '../support/programs.ts'
import { waitFor } from '../support/wait.ts'

const program = join(import.meta.dirname, '../../bin/nodelet')
const write = (path: string, fields: object) => writeFile(path, JSON.stringify(fields))

t.test('the proxy in the daemon is asked where kube-proxy is, when it has a configuration', async t => {
  const host = await createNetns()
  const folder = await mkdtemp(join(tmpdir(), 'nlt-proxy-in-daemon-'))
  t.teardown(async () => {
    await host.remove()
    await rm(folder, { recursive: true, force: true })
  })
  const at = (name: string) => join(folder, name)
  await mkdir(at('manifests'))
  await write(at('kubelet.yaml'), {
    ...{ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', staticPodPath: at('manifests') },
    // There is no runtime, and no pod that would need one.
    ...{ containerRuntimeEndpoint: `unix://${at('none.sock')}`, cgroupDriver: 'cgroupfs', cgroupsPerQOS: false },
    enforceNodeAllocatable: [],
  })
  await write(at('nodelet.yaml'), {
    ...{ apiVersion: 'nodelet.dev/v1alpha1', kind: 'NodeletConfiguration', socket: at('nodelet.sock'), stateDir: at('state') },
    cni: { mode: 'disabled' },
  })
  await write(at('proxy.yaml'), {
    ...{ apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration', mode: 'nftables' },
    ...{ metricsBindAddress: '127.0.0.1:19249', conntrack: { maxPerCore: 0, tcpCloseWaitTimeout: '33s' } },
  })
  const flags = ['--config', at('kubelet.yaml'), '--nodelet-config', at('nodelet.yaml'), '--root-dir', at('kubelet')]
  const start = (more: readonly string[]) =>
    startProgram({ netns: host, log: at('log'), argv: [program, 'agent', ...flags, ...more] })
  const ask = (url: string) => host.exec.try(['curl', '-s', '--max-time', '2', '-w', ' %{http_code}', url])

  const served = await start(['--proxy-config', at('proxy.yaml')])
  await waitFor('the health check', async () => (await ask('http://127.0.0.1:10256/healthz')).exitCode === 0)
  const { stdout } = await ask('http://127.0.0.1:10256/healthz')
  t.match(stdout, /^\{"lastUpdated":.*"nodeEligible":true,"healthy":true.*\} 200$/)
  t.equal((await ask('http://127.0.0.1:19249/proxyMode')).stdout, 'nftables 200', 'at the address of the configuration')
  t.match((await ask('http://127.0.0.1:19249/metrics')).stdout, /^kubeproxy_sync_proxy_rules_service_changes_total \d/m)
  const timeout = await host.run(['cat', '/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait'])
  t.equal(timeout.stdout, '33')
  await served.end('SIGTERM')

  const plain = await start([])
  await waitFor(
    'the socket',
    async () => (await host.exec.try([program, 'get', 'services', '--socket', at('nodelet.sock')])).exitCode === 0,
  )
  t.equal((await ask('http://127.0.0.1:10256/healthz')).exitCode, 7, 'without a configuration nobody listens')
  await plain.end('SIGTERM')
})
