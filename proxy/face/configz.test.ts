// The configuration in force as a client of kube-proxy reads it, and as the file that --config takes again.
import t from 'tap'
import { loadProxyConfig } from '../../api/config/proxy-config.ts'
import { toConfigFile, toConfigz } from './configz.ts'

const none = async (file: string): Promise<string> => {
  throw new Error(file)
}

t.test('/configz has the type, durations as Go writes them, and ranges in one text', async t => {
  const { config } = await loadProxyConfig(['--cluster-cidr=10.0.0.0/8,fd00::/8', '--config-sync-period=90s'], none)
  t.match(JSON.parse(toConfigz(config)), {
    'kubeproxy.config.k8s.io': {
      ...{ kind: 'KubeProxyConfiguration', apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', mode: 'nftables' },
      clusterCIDR: '10.0.0.0/8,fd00::/8',
      configSyncPeriod: '1m30s',
      nftables: { syncPeriod: '30s', minSyncPeriod: '1s', masqueradeBit: 14 },
      conntrack: { tcpEstablishedTimeout: '24h0m0s', tcpCloseWaitTimeout: '1h0m0s', udpTimeout: '0s' },
      oomScoreAdj: -999,
      iptables: { localhostNodePorts: true },
      logging: { verbosity: 0 },
    },
  })
})

t.test('what --write-config-to writes, --config reads as the same', async t => {
  const { config } = await loadProxyConfig(
    ['--proxy-mode=nftables', '--oom-score-adj=-5', '--nodeport-addresses=10.0.0.0/8'],
    none,
  )
  const again = await loadProxyConfig(['--config=f'], async () => toConfigFile(config))
  t.same(again.config, config)
})
