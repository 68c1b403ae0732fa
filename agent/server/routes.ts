// The paths of the daemon's socket, and what each answers. Reads the node's view and changes nothing; what it throws becomes
// an answer in server.ts, which also listens.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { KubeObject } from '../../api/meta.ts'
import { toTraceQuery } from '../../api/trace-query.ts'
import { sendEither, sendJson } from '../../host/answer.ts'
import type { Clock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { toText } from '../timeline-text.ts'
import { findPod } from './find.ts'
import { serveLog } from './log-route.ts'
import { toCaller } from './trace-query.ts'
import type { NodeView } from './view.ts'
import type { List } from './wire.ts'

export interface RouteDeps {
  readonly view: NodeView
  /** Runs a call of the CNI plugin: the request's body in, the text of its result out. */
  readonly cni: (body: string) => Promise<string>
  readonly clock: Clock
}

const toList = (items: readonly KubeObject[], apiVersion: string, kind: string): List => ({
  apiVersion: 'v1',
  kind: 'List',
  metadata: { resourceVersion: '' },
  items: items.map(item => ({ apiVersion, kind, ...item })),
})

/** The parts of a path below /v1/pods: namespace, name and what is asked of the pod. */
export const podPath = (path: string): { namespace: string; name: string; action: string } | undefined => {
  const match = /^\/v1\/pods\/([^/]+)\/([^/]+)(?:\/([a-z]+))?$/.exec(path)
  if (match === null) return undefined
  const [, namespace = '', name = '', action = ''] = match
  return { namespace: decodeURIComponent(namespace), name: decodeURIComponent(name), action }
}

/** Answers a request that is not an upgrade. @throws Fault that belongs to the client */
export const route = async (request: IncomingMessage, response: ServerResponse, deps: RouteDeps): Promise<void> => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://nodelet')
  if (request.method === 'POST' && pathname === '/cni') {
    const result = Buffer.from(await deps.cni(await readBody(request)))
    // The shim knows by the length that the answer is whole.
    const headers = { 'Content-Type': 'application/octet-stream', 'Content-Length': result.length }
    return void response.writeHead(200, headers).end(result)
  }
  if (request.method !== 'GET')
    throw new Fault('unsupported', `${request.method} ${pathname} is not supported`, { retry: 'never' })
  const whole = wholes[pathname]
  if (whole !== undefined) return sendJson(response, 200, await whole(deps.view))
  if (pathname === '/v1/trace') return routeTrace(searchParams, request, response, deps)
  if (pathname === '/healthz') return void response.writeHead(200, { 'Content-Type': 'text/plain' }).end('ok\n')
  const asked = podPath(pathname)
  if (asked === undefined) throw new Fault('not-found', `no such path: ${pathname}`, { retry: 'never' })
  await routePod(asked, searchParams, request, response, deps)
}

const wholes: Readonly<Record<string, (view: NodeView) => object | Promise<object>>> = {
  '/v1/pods': view => toList(view.pods(), 'v1', 'Pod'),
  '/v1/services': view => toList(view.services(), 'v1', 'Service'),
  '/v1/endpoints': view => toList(view.endpointSlices(), 'discovery.k8s.io/v1', 'EndpointSlice'),
  '/v1/node': async view => ({ apiVersion: 'v1', kind: 'Node', ...(await view.node()) }),
  '/v1/problems': view => ({ items: view.problems() }),
  '/v1/diff': view => view.diff(),
}

const routeTrace = async (
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
  { view }: RouteDeps,
): Promise<void> => {
  const { text, body } = await view.trace(toTraceQuery(query, toCaller(view.pods())))
  sendEither(response, request.headers.accept, text, body)
}

const routePod = async (
  { namespace, name, action }: { namespace: string; name: string; action: string },
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
  { view, clock }: RouteDeps,
): Promise<void> => {
  if (action === '') return sendJson(response, 200, { apiVersion: 'v1', kind: 'Pod', ...findPod(view.pods(), namespace, name) })
  if (action === 'log') return serveLog(findPod(view.pods(), namespace, name), query, response, { view, clock })
  if (action === 'timeline') {
    const pod = findPod([...view.pods(), ...view.gonePods()], namespace, name)
    const timeline = view.timeline(pod.metadata.uid ?? '')
    const text = toText(pod, timeline, clock.now())
    return sendEither(
      response,
      request.headers.accept,
      text,
      timeline ?? { podUid: pod.metadata.uid ?? '', spans: [], dropped: 0 },
    )
  }
  if (action === 'exec') throw new Fault('bad-config', 'exec wants a connection that is upgraded', { retry: 'never' })
  throw new Fault('not-found', `pods have no "${action}"`, { retry: 'never' })
}

// A CNI call is a few KiB; more is not one.
const bodyLimit = 1024 * 1024

const readBody = async (request: IncomingMessage): Promise<string> => {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length
    if (length > bodyLimit) throw new Fault('bad-config', `a body may have ${bodyLimit} bytes`, { retry: 'never' })
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
