// What a query of /containerLogs asks, and which container's log it means. Pure.
// Follows PodLogOptions: its decoding (a flag is set unless it says 0 or false), its validation, and the kubelet's choice of the
// container by the pod's status, with the kubelet's words where there is none.
import type { Pod } from '../../api/types.ts'
import type { Millis } from '../../host/clock.ts'
import type { ReadOptions } from '../logs.ts'
import { statusOf } from '../server/find.ts'
import { type Answer, refuse } from './answer.ts'

export interface LogQuery {
  readonly follow: boolean
  readonly previous: boolean
  readonly read: ReadOptions
}

const undecodable = refuse(400, '{"message": "Unable to decode query."}')
const invalid = refuse(422, '{"message": "Invalid request."}')

const isTrue = (query: URLSearchParams, name: string): boolean => {
  const text = query.get(name)
  return text !== null && !['0', 'false'].includes(text.toLowerCase())
}

const streams = { All: undefined, Stdout: 'stdout', Stderr: 'stderr' } as const
const isStream = (text: string): text is keyof typeof streams => Object.hasOwn(streams, text)

/** An RFC 3339 time; undefined when it is none. */
const parseTime = (text: string): Millis | undefined => {
  const at = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(at) ? undefined : at
}

/** @param now for sinceSeconds */
export const parseLogQuery = (
  query: URLSearchParams,
  now: Millis,
): { readonly query: LogQuery } | { readonly refusal: Answer } => {
  const tail = query.get('tail')
  const texts = {
    // `tail` is the older name; `all` is as if it were not there.
    tailLines: tail === null || tail === '' ? query.get('tailLines') : tail === 'all' ? null : tail,
    limitBytes: query.get('limitBytes'),
    sinceSeconds: query.get('sinceSeconds'),
  }
  if (Object.values(texts).some(it => it !== null && !/^[+-]?\d+$/.test(it))) return { refusal: undecodable }
  const [tailLines, limitBytes, sinceSeconds] = [texts.tailLines, texts.limitBytes, texts.sinceSeconds].map(it =>
    it === null ? undefined : Number(it),
  )
  const sinceText = query.get('sinceTime') || undefined
  const sinceTime = sinceText === undefined ? undefined : parseTime(sinceText)
  if (sinceText !== undefined && sinceTime === undefined) return { refusal: undecodable }
  const stream = query.get('stream') ?? 'All'
  const isRefused =
    (tailLines ?? 0) < 0 ||
    (limitBytes ?? 1) < 1 ||
    (sinceSeconds ?? 1) < 1 ||
    (sinceSeconds !== undefined && sinceTime !== undefined) ||
    (stream !== 'All' && tailLines !== undefined)
  if (isRefused || !isStream(stream)) return { refusal: invalid }
  const since = sinceSeconds === undefined ? sinceTime : now - sinceSeconds * 1000
  const only = streams[stream]
  const read = {
    timestamps: isTrue(query, 'timestamps'),
    ...(tailLines !== undefined && { tailLines }),
    ...(limitBytes !== undefined && { limitBytes }),
    ...(since !== undefined && { since }),
    ...(only && { stream: only }),
  }
  return { query: { follow: isTrue(query, 'follow'), previous: isTrue(query, 'previous'), read } }
}

const waitingText: Readonly<Record<string, string>> = {
  ErrImagePull: "image can't be pulled",
  ImagePullBackOff: 'trying and failing to pull image',
}

/** The id of a status, as the runtime knows it: `containerd://ID`. */
const bareId = (id: string): string => id.replace(/^.*:\/\//, '')

/** The container whose log is meant: its id in the runtime, or why there is no log. */
export const chooseContainer = (
  pod: Pod,
  container: string,
  previous: boolean,
): { readonly id: string } | { readonly refusal: Answer } => {
  const at = `container "${container}" in pod "${pod.metadata.name}"`
  const no = (text: string) => ({ refusal: refuse(400, text) })
  const status = statusOf(pod, container)
  if (status === undefined) return no(`${at} is not available`)
  const { waiting, running, terminated } = status.state ?? {}
  const last = status.lastState?.terminated
  if (previous) return last?.containerID ? { id: bareId(last.containerID) } : no(`previous terminated ${at} not found`)
  if (running) return { id: bareId(status.containerID ?? '') }
  if (terminated?.containerID) return { id: bareId(terminated.containerID) }
  if (terminated || last) return last?.containerID ? { id: bareId(last.containerID) } : no(`${at} is terminated`)
  if (waiting) return no(`${at} is waiting to start: ${waitingText[waiting.reason ?? ''] ?? waiting.reason ?? ''}`)
  return no(`${at} is waiting to start - no logs yet`)
}
