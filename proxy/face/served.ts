// A running proxy that is also seen as kube-proxy is: the kernel's limits of connection tracking, and the face, for as long as it runs.
// For whoever has a KubeProxyConfiguration to obey: the daemon, and the proxy that runs alone.
import type { ProxyConfig } from '../../api/config/proxy-config.ts'
import { readBootTime } from '../../host/own-process.ts'
import { limitConntrack } from '../limits.ts'
import type { Proxy as ServiceProxy } from '../main.ts'
import { isEligible, type ProxyNode } from '../node.ts'
import { createProxyFace, type ProxyFaceDeps } from './face.ts'

export interface ServedDeps extends Omit<ProxyFaceDeps, 'proxy' | 'isEligible' | 'bootedAt' | 'config'> {
  readonly config: ProxyConfig
  /** The Node as it is now. */
  readonly node: () => ProxyNode | undefined
}

/** @returns the same proxy; its stop ends the face, too. Asked for as soon as the proxy is made, no round is missed. */
export const serveProxy = async <P extends ServiceProxy>(proxy: P, { node, ...deps }: ServedDeps): Promise<P> => {
  const face = await createProxyFace({ ...deps, proxy, isEligible: () => isEligible(node()), bootedAt: readBootTime() })
  await limitConntrack(deps.config.conntrack, deps.log)
  const stop = async () => {
    await face.close()
    await proxy.stop()
  }
  return { ...proxy, stop }
}
