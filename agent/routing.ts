// Whether Services are routed here, as it begins and ends: the proxy while there is one, a watch on the other tables while there is none.
// Knows no rule of Services. Who is to route them is stand-aside.ts's and the configuration's to say.
import type { Clock } from '../host/clock.ts'
import { describe, Fault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import { keepTrying, type Patient } from './patience.ts'
import type { NodeView } from './server/view.ts'

/** What the agent needs of a proxy that runs. */
export interface Routed {
  readonly trace: NodeView['trace']
  readonly diff: NodeView['diff']
  stop(): Promise<void>
}

export interface RoutingDeps {
  readonly start: () => Promise<Routed>
  /** Watches the tables of others, which a running proxy's watch covers too. */
  readonly watch: () => { stop(): void }
  /** Takes the rules of Services away. */
  readonly cleanup: () => Promise<unknown>
  readonly clock: Clock
  readonly log: Log
}

export interface Routing {
  /** There is to be no proxy, for this reason. */
  watchOnly(why: string): void
  begin(): void
  /** Ends the proxy and takes its rules away. */
  end(): Promise<void>
  /** The first attempt to route is over. */
  tried(): Promise<void> | undefined
  stop(): Promise<void>
  /** @throws Fault `unsupported` with the reason while there is no proxy; so does diff */
  readonly trace: NodeView['trace']
  readonly diff: NodeView['diff']
}

const undecided = 'nobody has said yet who routes Services on this node'

/** Neither a proxy nor a watch runs before it is told to. */
export const createRouting = ({ start, watch, cleanup, clock, log }: RoutingDeps): Routing => {
  let proxy: Patient<Routed> | undefined
  let monitor: { stop(): void } | undefined
  let why = undecided
  const watchOnly = (reason: string) => {
    why = reason
    monitor ??= watch()
  }
  const stop = async () => {
    monitor?.stop()
    monitor = undefined
    await proxy?.giveUp()?.stop()
    proxy = undefined
  }
  const running = (): Routed => {
    const { result, failure } = proxy ?? {}
    if (result !== undefined) return result
    const reason = failure !== undefined ? describe(failure) : proxy === undefined ? why : 'the proxy is starting'
    throw new Fault('unsupported', `this daemon routes no Services: ${reason}`, { retry: 'never' })
  }
  return {
    watchOnly,
    begin: () => {
      monitor?.stop()
      monitor = undefined
      proxy = keepTrying('Services are not routed', start, { clock, log })
    },
    end: async () => {
      await stop()
      watchOnly('a pod of kube-proxy routes them on this node')
      await cleanup()
    },
    tried: () => proxy?.tried,
    stop,
    trace: async query => running().trace(query),
    diff: async () => running().diff(),
  }
}
