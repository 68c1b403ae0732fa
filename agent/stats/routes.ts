// The paths of the kubelet API that statistics answer, as values that its server mounts. The code that looks at the node is loaded
// with the first request for it: most nodes are asked by nobody but /metrics/resource, and many not even so.
import { expositionType } from '../../host/exposition.ts'
import type { Stats } from './stats.ts'

export interface StatsAnswer {
  readonly status: 200
  readonly type: string
  readonly body: string
}

/** Callers have been authorized when it is called. */
export type StatsRoute = (request: { readonly query: URLSearchParams }) => Promise<StatsAnswer>

/** @param load called once, at the first request; again when it failed */
export const statsRoutes = (load: () => Promise<Stats>): Readonly<Record<string, StatsRoute>> => {
  let loaded: Promise<Stats> | undefined
  const stats = (): Promise<Stats> => {
    loaded ??= load().catch(error => {
      loaded = undefined
      throw error
    })
    return loaded
  }
  const metrics =
    (textOf: (stats: Stats) => Promise<string>): StatsRoute =>
    async () => ({ status: 200, type: expositionType, body: await textOf(await stats()) })
  return {
    '/stats/summary': async ({ query }) => {
      const only = ['true', '1', ''].includes(query.get('only_cpu_and_memory') ?? 'false')
      const summary = await (await stats()).summary(only)
      return { status: 200, type: 'application/json', body: `${JSON.stringify(summary)}\n` }
    },
    '/metrics/resource': metrics(it => it.resourceMetrics()),
    '/metrics/cadvisor': metrics(it => it.cadvisorMetrics()),
  }
}
