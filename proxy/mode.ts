// What a way of programming the kernel (KubeProxyConfiguration.mode) has to offer the proxy: its families, a backend for each, and a
// watch that notices when somebody else takes rules away. Types only.
import type { IPFamily } from '../api/service-types.ts'
import type { Clock } from '../host/clock.ts'
import type { Exec } from '../host/exec.ts'
import type { Log } from '../host/log.ts'
import type { Slices } from '../host/loop.ts'
import type { ForeignChange } from '../host/nftmonitor.ts'
import type { Backend } from './backend.ts'
import type { ProxySettings } from './settings.ts'
import type { Vanished } from './vanished.ts'

export interface ModeDeps {
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
}

/** Further nftables tables that the mode's watch looks at for somebody else. */
export interface AlsoWatch {
  readonly tables: readonly string[]
  readonly onForeignChange: (change: ForeignChange) => void
}

export interface ModeWatch {
  /** How often somebody else took something of ours away. */
  readonly count: number
  readonly isRunning: boolean
  stop(): void
}

export interface WatchDeps {
  readonly resync: (reason: string, family: IPFamily) => void
  /** Resolves when everything of this moment is in the kernel. */
  readonly settled: () => Promise<void>
  /** Whether the rules of a family should all stand at this moment. */
  readonly stands: (family: IPFamily) => boolean
  readonly also: AlsoWatch | undefined
  /** Where is told what somebody else took away. */
  readonly vanished: Vanished
}

export interface Mode {
  readonly families: readonly IPFamily[]
  /** Ports of one Service at most, where more would hold up all others for too long. */
  readonly mostPorts?: number
  backends(deps: { readonly settings: () => ProxySettings; readonly slices: Slices }): readonly Backend[]
  watch(deps: WatchDeps): ModeWatch
}
