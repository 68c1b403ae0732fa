// What KubeProxyConfiguration says about the IPVS mode (`ipvs:`), as this mode takes it. Types and defaults only.

export interface IpvsSettings {
  /** '' is round robin. */
  readonly scheduler: string
  /** Virtual servers at these addresses are somebody else's, and stay. */
  readonly excludeCIDRs: readonly string[]
  /** Answers ARP for an address only on the interface that has it. */
  readonly strictARP: boolean
  /** How often the kernel is compared with what it should hold. */
  readonly syncPeriod: number
  /** Timeouts of connections in milliseconds; 0 leaves the kernel's as they are. */
  readonly tcpTimeout: number
  readonly tcpFinTimeout: number
  readonly udpTimeout: number
}

export const defaultIpvsSettings: IpvsSettings = {
  scheduler: '',
  excludeCIDRs: [],
  strictARP: false,
  syncPeriod: 30_000,
  tcpTimeout: 0,
  tcpFinTimeout: 0,
  udpTimeout: 0,
}
