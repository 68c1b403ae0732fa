// Keeps the routes to the other nodes' pods in the kernel as a watch of the Nodes shows them, and puts back what somebody took away.
// What the routes are is decided in routes.ts. Without a view of the Nodes the routes stay as they are.
// Routes of an earlier run are found by their protocol number: a node that is gone meanwhile loses its route at the start.
import type { Source } from '../../api/source.ts'
import type { ConnectedNetwork } from '../../host/addresses.ts'
import type { Clock, Millis, Timer } from '../../host/clock.ts'
import { describe, type Fault } from '../../host/fault.ts'
import type { Link } from '../../host/link.ts'
import type { Log } from '../../host/log.ts'
import type { NodeObject } from '../node.ts'
import { type FarNode, type PodRoute, podRoutes, routeChanges, routeKeyOf, routeProtocol } from './routes.ts'

export interface NodeRoutesDeps {
  /** All Nodes; `problem` says why they cannot be seen, where the source has such a thing. */
  readonly nodes: Source<NodeObject> & { problem?(): Fault | undefined }
  readonly ownName: string
  readonly link: Pick<Link, 'batchEach' | 'query'>
  readonly networks: () => readonly ConnectedNetwork[]
  readonly clock: Clock
  readonly log: Log
  /** How often the kernel is compared with what it should have; 60 s when not given. */
  readonly checkMs?: Millis
}

export interface NodeRoutes {
  /** Compares the kernel with the Nodes at once: after an interface came back, for one. Resolves when that is done. */
  repair(): Promise<void>
  /** Follows the Nodes no more; the routes stay, since pods go on. */
  stop(): void
}

/** By then the first list has come or was refused. */
const firstCheckMs = 2_000

interface ShownRoute {
  readonly dst: string
  readonly gateway?: string
  readonly dev?: string
}

const readRoutes = async (link: Pick<Link, 'query'>): Promise<readonly PodRoute[]> => {
  const ask = (family: string) => link.query<ShownRoute>([family, 'route', 'show', 'proto', String(routeProtocol)])
  const shown = await Promise.all([ask('-4'), ask('-6')])
  return shown.flat().map(({ dst, gateway = '', dev = '' }) => ({
    // A range of one address is shown without its length.
    cidr: dst.includes('/') ? dst : `${dst}/${dst.includes(':') ? 128 : 32}`,
    via: gateway,
    dev,
  }))
}

/** Takes all our routes away, as `--cleanup` does. @returns what they were, a text each */
export const removeNodeRoutes = async (link: Pick<Link, 'batchEach' | 'query'>): Promise<readonly string[]> => {
  const routes = await readRoutes(link)
  const commands = routeChanges(routes, [])
  if (commands.length > 0) await link.batchEach(commands.map(it => [it]))
  return routes.map(({ cidr, via }) => `route to ${cidr} by ${via}`)
}

/** What a person has to know: pods that are not reached, each in a line, with fields for the log. */
const complaints = (
  far: readonly FarNode[],
  commands: readonly string[],
  results: readonly (Fault | undefined)[],
): ReadonlyMap<string, object> => {
  const lines = new Map<string, object>()
  for (const { name, cidr, addresses } of far) {
    const where =
      addresses.length === 0 ? 'it has no InternalIP of that family' : `no network of this node has ${addresses.join(', ')}`
    lines.set(
      `no route to the pods of node ${name} (${cidr}): ${where}, and packets to it would have to pass a router: ` +
        'put the nodes into one network, or route the range there',
      { node: name, cidr },
    )
  }
  for (const [index, fault] of results.entries()) {
    const command = commands[index] ?? ''
    if (fault === undefined || (fault.code === 'not-found' && command.startsWith('route del'))) continue
    if (fault.code === 'already-exists') lines.set(`a route of somebody else stands in place of ours and is left: ${command}`, {})
    else lines.set(`a route to other pods cannot be set: ${describe(fault)}`, { err: fault })
  }
  return lines
}

export const createNodeRoutes = (deps: NodeRoutesDeps): NodeRoutes => {
  const { nodes, ownName, link, clock, log, checkMs = 60_000 } = deps
  // Said once each, until they are over.
  const said = new Set<string>()
  let isStopped = false
  let isDirty = false
  let saidForbidden = false
  let working: Promise<void> | undefined
  let timer: Timer | undefined

  const warnOnce = (lines: ReadonlyMap<string, object>) => {
    for (const line of said) if (!lines.has(line)) said.delete(line)
    for (const [line, fields] of lines) if (!said.has(line)) log.warn(fields, line)
    for (const line of lines.keys()) said.add(line)
  }

  const apply = async (): Promise<void> => {
    const { routes, far } = podRoutes(nodes.list(), ownName, deps.networks())
    const commands = routeChanges(await readRoutes(link), routes)
    const results = commands.length === 0 ? [] : await link.batchEach(commands.map(it => [it]))
    warnOnce(complaints(far, commands, results))
    const done = results.filter(it => it === undefined).length
    if (done > 0) log.info({ changes: done, routes: routes.length }, 'routes to the pods of other nodes')
  }

  const work = async (): Promise<void> => {
    // Nodes that come in one turn make one batch.
    await Promise.resolve()
    while (isDirty && !isStopped) {
      isDirty = false
      await apply().catch(error => log.error({ err: error }, `routes to other nodes cannot be set: ${describe(error)}`))
    }
    working = undefined
  }
  const reconcile = (): Promise<void> => {
    // Before the first full list every route of an earlier run would seem to lead to nobody.
    if (isStopped || !nodes.isSynced) return Promise.resolve()
    isDirty = true
    working ??= work()
    return working
  }
  const lookForRight = () => {
    const isForbidden = nodes.problem?.()?.code === 'api-forbidden'
    if (isForbidden && !saidForbidden)
      log.warn(
        {},
        'pods of other nodes are not routed to: this node may not list Nodes; ' +
          'apply deploy/rbac.yaml, which gives group system:nodes the role system:node-proxier; pods run on',
      )
    saidForbidden = isForbidden
  }
  const check = (ms: Millis) => {
    timer = clock.after(ms, () => {
      lookForRight()
      void reconcile()
      check(checkMs)
    })
  }

  const unsubscribe = nodes.subscribe({
    changed: (before, after) => {
      if ((after ?? before)?.metadata.name !== ownName && routeKeyOf(before) !== routeKeyOf(after)) void reconcile()
    },
    synced: () => void reconcile(),
  })
  check(firstCheckMs)
  return {
    repair: reconcile,
    stop: () => {
      isStopped = true
      timer?.cancel()
      unsubscribe()
    },
  }
}
