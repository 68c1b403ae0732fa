// /exec, /attach and /portForward: asks the runtime for a stream; the client's connection is then joined with it (server/tunnel.ts).
// Follows the kubelet's parameters (input, output, error, tty; each set by 1) and its refusals.
import type { Cri } from '../../api/cri/cri.ts'
import { containerOf, fullName, namespaceOf } from '../../api/pod.ts'
import type { Pod } from '../../api/types.ts'
import { podUidLabel } from '../labels.ts'
import type { NodeView } from '../server/view.ts'
import { type Answer, type Ask, methodNotAllowed, notFound, refuse } from './answer.ts'
import { isUid, noPod, podNamed, runningContainer } from './pod-routes.ts'

export interface StreamDeps {
  readonly view: Pick<NodeView, 'pods'>
  readonly cri: Pick<Cri, 'exec' | 'attach' | 'portForward' | 'listPodSandbox'>
}

/** Where the runtime serves the stream, or why there is none. */
export type StreamPlan = { readonly url: URL } | { readonly refusal: Answer }

export interface Wanted {
  readonly stdin: boolean
  readonly stdout: boolean
  readonly stderr: boolean
  readonly tty: boolean
}

/** The streams that a query asks for; undefined when it asks for none. */
export const parseStreams = (query: URLSearchParams): Wanted | undefined => {
  const isOne = (name: string) => query.get(name) === '1'
  const tty = isOne('tty')
  // A terminal has one output.
  const wanted = { stdin: isOne('input'), stdout: isOne('output'), stderr: isOne('error') && !tty, tty }
  return wanted.stdin || wanted.stdout || wanted.stderr ? wanted : undefined
}

/** The ports that a WebSocket client names beforehand; SPDY names each with its stream. @returns undefined when they are wrong */
export const parsePorts = (query: URLSearchParams): readonly number[] | undefined => {
  const ports = query.getAll('port').flatMap(it => it.split(','))
  const isPort = (text: string) => /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535
  return ports.length > 0 && ports.every(isPort) ? ports.map(Number) : undefined
}

const no = (status: number, text: string): StreamPlan => ({ refusal: refuse(status, text) })

const planContainer = async (
  { segments, query }: Ask,
  { view }: Pick<StreamDeps, 'view'>,
  ask: (id: string, wanted: Wanted, container: string, pod: Pod) => Promise<string>,
  missing: (container: string, pod: Pod) => string,
): Promise<StreamPlan> => {
  if (segments.length !== 4 && segments.length !== 5) return { refusal: notFound }
  const wanted = parseStreams(query)
  if (wanted === undefined) return no(400, 'you must specify at least 1 of stdin, stdout, stderr')
  const [, namespace, name] = segments
  const container = segments.at(-1) ?? ''
  const pod = podNamed(view.pods(), namespace, name)
  if (pod === undefined) return { refusal: noPod }
  const id = isUid(pod, segments.length === 5 ? segments[3] : undefined) ? runningContainer(pod, container) : undefined
  if (id === undefined) return no(500, missing(container, pod))
  return { url: new URL(await ask(id, wanted, container, pod)) }
}

const planExec = (it: Ask, deps: StreamDeps): Promise<StreamPlan> =>
  planContainer(
    it,
    deps,
    (containerId, wanted) => deps.cri.exec({ containerId, cmd: it.query.getAll('command'), ...wanted }),
    container => `container not found ("${container}")`,
  )

const planAttach = (it: Ask, deps: StreamDeps): Promise<StreamPlan> =>
  planContainer(
    it,
    deps,
    // Whether the program has a terminal was decided when it was started.
    (containerId, wanted, container, pod) => {
      const tty = containerOf(pod, container)?.tty === true
      return deps.cri.attach({ containerId, ...wanted, tty, stderr: wanted.stderr && !tty })
    },
    (container, pod) => `container ${container} not found in pod ${pod.metadata.name}_${namespaceOf(pod)}`,
  )

const planPortForward = async ({ segments, query, headers }: Ask, { view, cri }: StreamDeps): Promise<StreamPlan> => {
  if (segments.length !== 3 && segments.length !== 4) return { refusal: notFound }
  const isWebSocket = String(headers.upgrade ?? '').toLowerCase() === 'websocket'
  const ports = isWebSocket ? parsePorts(query) : []
  if (ports === undefined) return no(400, 'query parameter "port" is required: ports between 1 and 65535')
  const [, namespace, name, uid] = segments
  const pod = podNamed(view.pods(), namespace, name)
  if (pod === undefined) return { refusal: noPod }
  if (!isUid(pod, uid)) return no(404, 'pod not found')
  const sandboxes = await cri.listPodSandbox({
    state: { state: 'SANDBOX_READY' },
    labelSelector: { [podUidLabel]: pod.metadata.uid ?? '' },
  })
  const [newest] = [...sandboxes].sort((a, b) => b.createdAt - a.createdAt)
  if (newest === undefined) return no(500, `failed to find sandbox for pod ${fullName(pod)}: it does not run`)
  return { url: new URL(await cri.portForward(newest.id, ports)) }
}

const plans = { exec: planExec, attach: planAttach, portForward: planPortForward } as const

/** Whether a path leads to a stream, and so wants an upgraded connection. */
export const isStream = (segments: readonly string[]): boolean => Object.hasOwn(plans, segments[0] ?? '')

/**
 * The stream that a request asks for.
 * @throws Fault of the runtime's; `not-found` is a 404, every other a 500
 */
export const planStream = async (it: Ask, deps: StreamDeps): Promise<StreamPlan> => {
  if (it.method !== 'GET' && it.method !== 'POST') return { refusal: methodNotAllowed }
  return plans[it.segments[0] as keyof typeof plans](it, deps)
}
