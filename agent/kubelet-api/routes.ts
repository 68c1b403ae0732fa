// The paths of the kubelet API and who answers each. Reads and asks, decides nothing about who may: that is gate.ts's.
// Follows the kubelet's server.go: what the read-only port has too, what enableDebuggingHandlers adds, and what is said of the rest.
import type { KubeletConfiguration } from '../config/kubelet-defaults.ts'
import type { Answer, Ask, Handler } from './answer.ts'
import { methodNotAllowed, notFound, refuse } from './answer.ts'
import { serveConfigz } from './configz.ts'
import { type HealthChecks, serveHealth } from './health.ts'
import { listPods, listRunningPods } from './pod-lists.ts'
import { type PodRouteDeps, serveCheckpoint, serveLogs, serveRun } from './pod-routes.ts'
import { planStream, type StreamDeps } from './streams.ts'
import { serveSystemLogs } from './system-logs.ts'

export interface RouteDeps {
  readonly kubelet: KubeletConfiguration
  readonly view: PodRouteDeps['view']
  readonly cri: PodRouteDeps['cri'] & StreamDeps['cri'] & Parameters<typeof listRunningPods>[0]
  readonly checks: HealthChecks
  /** Whole paths that others answer to GET, such as `/stats/summary` and `/metrics`; the read-only port has them too. */
  readonly extra: Readonly<Record<string, Handler>>
  readonly checkpointsDir: string
  /** /var/log. */
  readonly systemLogsDir: string
  readonly clock: PodRouteDeps['clock']
}

interface Route {
  /** Absent: any. */
  readonly method?: 'GET' | 'POST'
  readonly serve: Handler
}

type Routes = Readonly<Record<string, Route>>

/** Whether nothing is asked below the first part of a path. */
const isWhole = ({ segments }: Ask): boolean => segments.length === 1 || (segments.length === 2 && segments[1] === '')

const whole =
  (serve: Handler): Handler =>
  ask =>
    isWhole(ask) ? serve(ask) : notFound

const openRoutes = ({ view, checks }: RouteDeps): Routes => ({
  healthz: { serve: ask => serveHealth(ask, checks) },
  pods: { method: 'GET', serve: whole(() => listPods(view)) },
})

const disabled = (what: string): Route => ({ serve: () => refuse(405, `${what}\n`) })

const serveDebug =
  ({ enableProfilingHandler, enableDebugFlagsHandler }: KubeletConfiguration): Handler =>
  ({ path }) => {
    if (path.startsWith('/debug/pprof/')) {
      if (!enableProfilingHandler) return refuse(405, 'profiling endpoint is disabled.\n')
      return refuse(404, 'there are no profiles of Go here: this node agent is not a Go program\n')
    }
    if (path === '/debug/flags/v') {
      if (!enableDebugFlagsHandler) return refuse(405, 'flags endpoint is disabled.\n')
      return refuse(404, 'the verbosity of the log is set at start, by --v or logging.verbosity\n')
    }
    return notFound
  }

const noUpgrade =
  (deps: StreamDeps): Handler =>
  async ask => {
    const plan = await planStream(ask, deps)
    return 'refusal' in plan ? plan.refusal : refuse(400, 'Upgrade request required\n')
  }

const serveVarLog =
  ({ kubelet, systemLogsDir }: RouteDeps): Handler =>
  ask =>
    kubelet.enableSystemLogQuery && ask.query.has('query')
      ? refuse(501, 'log queries are not served by this node; ask for the files under /logs/\n')
      : serveSystemLogs(ask, systemLogsDir)

const guardedRoutes = (deps: RouteDeps): Routes => ({
  run: { method: 'POST', serve: ask => serveRun(ask, deps) },
  exec: { serve: noUpgrade(deps) },
  attach: { serve: noUpgrade(deps) },
  portForward: { serve: noUpgrade(deps) },
  containerLogs: { method: 'GET', serve: ask => serveLogs(ask, deps) },
  configz: { serve: whole(() => serveConfigz(deps.kubelet)) },
  runningpods: { method: 'GET', serve: whole(() => listRunningPods(deps.cri)) },
  checkpoint: { method: 'POST', serve: ask => serveCheckpoint(ask, deps) },
  logs: deps.kubelet.enableSystemLogHandler
    ? { method: 'GET', serve: serveVarLog(deps) }
    : disabled('logs endpoint is disabled.'),
  debug: { serve: serveDebug(deps.kubelet) },
})

const off = disabled('Debug endpoints are disabled.')
const nothingGuarded: Routes = {
  ...{ run: off, exec: off, attach: off, portForward: off, containerLogs: off, runningpods: off, logs: off },
  debug: { serve: ask => (ask.path.startsWith('/debug/pprof/') ? off.serve(ask) : notFound) },
}

/** Answers every path. @param guarded whether callers were asked who they are: only then is there more than health, pods and figures */
export const createRoutes = (deps: RouteDeps, guarded: boolean): Handler => {
  const routes: Routes = {
    ...openRoutes(deps),
    ...(guarded && deps.kubelet.enableDebuggingHandlers ? guardedRoutes(deps) : nothingGuarded),
  }
  const own = (record: Readonly<Record<string, Route>>, key: string) => (Object.hasOwn(record, key) ? record[key] : undefined)
  return (ask): Answer | Promise<Answer> => {
    const extra = Object.hasOwn(deps.extra, ask.path) ? deps.extra[ask.path] : undefined
    const route: Route | undefined = extra ? { method: 'GET', serve: extra } : own(routes, ask.segments[0] ?? '')
    if (route === undefined) return notFound
    if (route.method !== undefined && route.method !== ask.method) return methodNotAllowed
    return route.serve(ask)
  }
}
