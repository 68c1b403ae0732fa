// What /healthz and /livez of the proxy say: whether it keeps up with what it is told, and whether its node is to get traffic. Pure.
// Follows kube-proxy 1.36 (pkg/proxy/healthcheck, KEP-3836): late is what has waited two sync periods; before its first sync it is healthy.
import type { IPFamily } from '../../api/service-types.ts'
import type { Millis } from '../../host/clock.ts'
import type { FamilyProgress } from '../progress.ts'

export type ProgressByFamily = Readonly<Partial<Record<IPFamily, FamilyProgress>>>

interface FamilyHealth {
  readonly updatedAt: Millis
  readonly healthy: boolean
}

export interface ProxyHealth {
  readonly healthy: boolean
  readonly families: Readonly<Partial<Record<IPFamily, FamilyHealth>>>
}

/** @param lateMs how long a change may wait for the kernel */
export const toHealth = (progress: ProgressByFamily, lateMs: number, now: Millis): ProxyHealth => {
  const families: Partial<Record<IPFamily, FamilyHealth>> = {}
  for (const [family, { updatedAt, waitingSince }] of Object.entries(progress) as [IPFamily, FamilyProgress][]) {
    if (updatedAt === undefined) continue
    families[family] = { updatedAt, healthy: waitingSince === undefined || now - waitingSince < lateMs }
  }
  return { healthy: Object.values(families).every(it => it.healthy), families }
}

const timeText = (at: Millis): string => new Date(at).toISOString()

/** What Go writes for a time that never was. */
const never = '0001-01-01T00:00:00Z'

export interface HealthAnswer {
  readonly status: 200 | 503
  readonly body: string
}

/** @param eligible of the node; left out for /livez, which does not ask for it */
export const toHealthAnswer = ({ healthy, families }: ProxyHealth, now: Millis, eligible?: boolean): HealthAnswer => {
  const fine = healthy && eligible !== false
  const updates = Object.values(families).map(it => it.updatedAt)
  const last = updates.length === 0 ? never : timeText(Math.max(...updates))
  const status = Object.fromEntries(
    Object.entries(families).map(([family, it]) => [family, { lastUpdated: timeText(it.updatedAt), healthy: it.healthy }]),
  )
  const body = JSON.stringify({
    // Load balancers that look at it take an old time for a sick proxy, though there may be nothing to write.
    lastUpdated: fine ? timeText(now) : last,
    currentTime: timeText(now),
    ...(eligible !== undefined && { nodeEligible: eligible }),
    healthy,
    ...(updates.length > 0 && { status }),
  })
  return { status: fine ? 200 : 503, body }
}
