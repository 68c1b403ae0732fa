// Where an installation is on the machine, and the text of what it writes there. Pure.
// The kubelet's own paths for what a kubelet has; /etc/nodelet for what only this program knows.
import type { InstallOptions } from './options.ts'

export const places = {
  unit: '/etc/systemd/system/nodelet.service',
  enabled: '/etc/systemd/system/multi-user.target.wants/nodelet.service',
  folder: '/etc/nodelet',
  kubelet: '/etc/nodelet/kubelet.yaml',
  nodelet: '/etc/nodelet/nodelet.yaml',
  manifests: '/etc/nodelet/manifests',
  kubeconfig: '/etc/nodelet/kubeconfig',
  bootstrap: '/etc/nodelet/bootstrap.kubeconfig',
  clusterCa: '/etc/nodelet/ca.crt',
  defaults: '/etc/default/nodelet',
  modules: '/etc/modules-load.d/nodelet.conf',
  sysctls: '/etc/sysctl.d/90-nodelet.conf',
  logind: '/etc/systemd/logind.conf.d/99-nodelet.conf',
  program: '/usr/local/bin/nodelet',
  stateDir: '/var/lib/nodelet',
  rootDir: '/var/lib/kubelet',
  containerdConfig: '/etc/containerd/config.toml',
  containerdSocket: '/run/containerd/containerd.sock',
} as const

/** Seconds that pods have when the machine is shut down, and of these those that are critical. */
const shutdown = { all: 30, critical: 10 } as const

/** Flags of the daemon, as the unit passes them; `--cleanup` takes the same. */
export const daemonFlags = (isJoining: boolean): readonly string[] => [
  ...['--config', places.kubelet, '--nodelet-config', places.nodelet],
  ...(isJoining ? ['--kubeconfig', places.kubeconfig, '--bootstrap-kubeconfig', places.bootstrap] : []),
]

/**
 * The service. Pods are in slices of their own and outlive the daemon (KillMode); it is told to be alive by its event loop (WatchdogSec).
 * What would give it a mount namespace of its own (PrivateTmp, ProtectSystem, ...) is left out: volumes must be seen by everybody.
 */
export const unitText = (
  program: string,
  isJoining: boolean,
): string => `# Written by \`nodelet install\`; changes belong into \`systemctl edit nodelet\`.
[Unit]
Description=nodelet, a Kubernetes node agent
Wants=network-online.target containerd.service
After=network-online.target containerd.service time-sync.target dbus.service systemd-logind.service
StartLimitIntervalSec=0

[Service]
Type=notify
# systemd-notify speaks for the daemon.
NotifyAccess=all
ExecStart=${program} agent ${daemonFlags(isJoining).join(' ')} $NODELET_EXTRA_ARGS
EnvironmentFile=-${places.defaults}
Environment=MALLOC_ARENA_MAX=1
Restart=always
RestartSec=1
# The container runtime may take its time, or be away: the daemon waits for it.
TimeoutStartSec=infinity
TimeoutStopSec=20
WatchdogSec=120
WatchdogSignal=SIGKILL
KillMode=process
Delegate=yes
OOMScoreAdjust=-999
LimitNOFILE=1048576
TasksMax=infinity
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
KeyringMode=private

[Install]
WantedBy=multi-user.target
`

/** What a cluster tells those that join it. */
export interface ClusterSettings {
  readonly clusterDNS: readonly string[]
  readonly clusterDomain: string
}

const kubeletText = (lines: readonly string[]): string =>
  ['apiVersion: kubelet.config.k8s.io/v1beta1', 'kind: KubeletConfiguration', ...lines, ''].join('\n')

/** The KubeletConfiguration of a new installation. */
export const kubeletConfigText = (cluster: ClusterSettings | undefined): string =>
  kubeletText([
    `staticPodPath: ${places.manifests}`,
    `containerRuntimeEndpoint: unix://${places.containerdSocket}`,
    `shutdownGracePeriod: ${shutdown.all}s`,
    `shutdownGracePeriodCriticalPods: ${shutdown.critical}s`,
    ...(cluster === undefined
      ? []
      : [
          'rotateCertificates: true',
          'authentication:',
          '  x509:',
          `    clientCAFile: ${places.clusterCa}`,
          `clusterDomain: ${cluster.clusterDomain}`,
          `clusterDNS: ${JSON.stringify(cluster.clusterDNS)}`,
        ]),
  ])

export const nodeletConfigText = `apiVersion: nodelet.dev/v1alpha1
kind: NodeletConfiguration
`

export const defaultsText = (options: Pick<InstallOptions, 'nodeName' | 'nodeIp'>): string => {
  const flags = [
    ...(options.nodeName === undefined ? [] : [`--hostname-override=${options.nodeName}`]),
    ...(options.nodeIp === undefined ? [] : [`--node-ip=${options.nodeIp}`]),
  ]
  return `# More flags for the daemon; \`nodelet agent --help\` says which.\nNODELET_EXTRA_ARGS="${flags.join(' ')}"\n`
}
