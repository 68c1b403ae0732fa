import { readFile } from 'node:fs/promises'
import t from 'tap'
import { loadAgentConfig } from '../agent/config/load.ts'
import { daemonFlags, defaultsText, kubeletConfigText, nodeletConfigText, places, unitText } from './places.ts'

const load = (isJoining: boolean) =>
  loadAgentConfig(daemonFlags(isJoining), {
    readText: async file =>
      file === places.nodelet
        ? nodeletConfigText
        : kubeletConfigText(isJoining ? { clusterDNS: ['10.96.0.10'], clusterDomain: 'cluster.local' } : undefined),
    filesBelow: async () => [],
    hostname: () => 'vm',
  })

t.test('the daemon takes what is written for it without a warning', async t => {
  const alone = await load(false)
  t.same(alone.warnings, [])
  t.match(alone.config, {
    staticPodPath: '/etc/nodelet/manifests',
    runtimeSocket: '/run/containerd/containerd.sock',
    rootDir: '/var/lib/kubelet',
  })
  t.equal(alone.config.kubeconfig, undefined)
  const joined = await load(true)
  t.same(joined.warnings, [])
  t.match(joined.config, {
    kubeconfig: '/etc/nodelet/kubeconfig',
    bootstrapKubeconfig: '/etc/nodelet/bootstrap.kubeconfig',
    clusterDNS: ['10.96.0.10'],
  })
})

t.test('the service lets pods outlive it and is watched', async t => {
  const unit = unitText('/usr/bin/nodelet', false)
  for (const line of ['Type=notify', 'KillMode=process', 'Delegate=yes', 'Restart=always', 'OOMScoreAdjust=-999'])
    t.ok(unit.includes(`\n${line}\n`), line)
  t.match(unit, /\nExecStart=\/usr\/bin\/nodelet agent --config \/etc\/nodelet\/kubelet\.yaml/)
  t.notMatch(unit, /^(Private|Protect|ReadOnly|Inaccessible)/m, 'volumes must be seen outside')
})

t.test('the unit that kubeadm starts ends this service, and waits until it has ended', async t => {
  const unit = await readFile(new URL('../deploy/kubeadm/kubelet.service', import.meta.url), 'utf8')
  t.match(unit, /^Conflicts=nodelet\.service$/m)
  t.match(unit, /^After=.*\bnodelet\.service\b/m)
})

t.test('name and address of the node are flags', async t =>
  t.match(
    defaultsText({ nodeName: 'n1', nodeIp: '10.0.0.1' }),
    '\nNODELET_EXTRA_ARGS="--hostname-override=n1 --node-ip=10.0.0.1"\n',
  ),
)
