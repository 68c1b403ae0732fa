// A pod's timeline as text for a person: one line per stage with its duration, what the pod waits for, and what to do about it.
// Pure: `now` comes in, lines go out. What it shows is recorded by agent/timeline.ts.
import type { Pod } from '../api/types.ts'
import type { Millis } from '../host/clock.ts'
import type { PodTimeline, Span } from './timeline.ts'

/** A duration as people read it: `850 µs` never, `7 ms`, `1.24 s`, `3m10s`, `2h5m`. */
export const toDuration = (ms: number): string => {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`
  const seconds = Math.floor(ms / 1000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${seconds % 60}s`
  return `${Math.floor(seconds / 3600)}h${Math.floor((seconds % 3600) / 60)}m`
}

/** What helps against a fault of this code, for the person in front of the node. */
const advice: Readonly<Record<string, string>> = {
  'bad-manifest': 'correct the manifest; the file is read again as soon as it is written',
  'runtime-away': 'is containerd running? `systemctl status containerd`; the pod goes on by itself when it answers',
  'runtime-timeout': 'the container runtime is slow or stuck: look at its log and at the load of the machine',
  'runtime-refused': "look at the container runtime's log: `journalctl -u containerd`",
  'image-pull': 'check the name and tag of the image, the registry, its credentials, and the network of this node',
  'image-never': 'import the image (`ctr -n k8s.io images import FILE`) or change imagePullPolicy',
  'image-name': 'correct the name of the image in the manifest',
  'container-config': 'the container cannot be set up as its spec asks: see the message',
  'container-create': 'see the message; a wrong mount, user or security option is the usual cause',
  'container-start': 'is the command there, and executable, in the image?',
  'sandbox-create': "see the message; the pod network or the runtime's sandbox image is the usual cause",
  hook: 'see what the hook wrote; a failed postStart hook ends its container',
  volume: 'see the message; the pod starts by itself when what the volume names is there',
  network: 'see the message; `nodelet doctor` looks at what networking needs',
  'address-range': 'the pod range is full: remove pods or give the node a larger podCIDR',
  'kernel-refused': 'the kernel or its tool said no: see the message',
  io: 'is a disk full or read-only? `df -h`, `df -i`',
  unsupported: 'this host or its runtime cannot do it: see the message',
}

/** Everything known of a pod's way, newest last. */
export const toText = (pod: Pod, timeline: PodTimeline | undefined, now: Millis): string => {
  const { namespace = 'default', name } = pod.metadata
  const lines = [`${namespace}/${name}: ${toState(pod, timeline)}`]
  if (timeline === undefined || timeline.spans.length === 0) {
    lines.push('', 'Nothing is recorded of its start: it ran already when the daemon started.')
  } else {
    lines.push('', ...toTable(timeline, now))
  }
  lines.push(...toContainers(pod, now))
  const { waitingFor, waitingCode, lastError } = timeline ?? {}
  // What is behind the waiting may never have been a stage's error: while the runtime is away, none begins.
  const isTold = lastError !== undefined && waitingFor?.includes(lastError.message)
  if (waitingFor !== undefined) lines.push('', `Waits for: ${waitingFor}`, ...(isTold ? [] : toHelp(waitingCode)))
  if (lastError !== undefined) lines.push('', ...toError(lastError, now))
  return `${lines.join('\n')}\n`
}

const toState = ({ status }: Pod, timeline: PodTimeline | undefined): string => {
  if (timeline?.endedAt !== undefined) return 'gone from this node'
  const ready = status?.conditions?.find(it => it.type === 'Ready')
  const phase = status?.phase ?? 'Pending'
  const why = status?.reason ?? (ready?.status === 'False' ? ready.reason : undefined)
  const state = phase === 'Running' ? `Running, ${ready?.status === 'True' ? 'ready' : 'not ready'}` : phase
  return `${state}${why === undefined ? '' : ` (${why})`}${status?.message ? `: ${status.message}` : ''}`
}

const toTable = ({ spans, dropped }: PodTimeline, now: Millis): string[] => {
  const start = spans[0]?.startedAt ?? now
  const rows = spans.map(span => [
    `+${toDuration(span.startedAt - start)}`,
    span.container === undefined ? span.stage : `${span.stage} ${span.container}`,
    toLength(span, now),
    [span.detail, span.error === undefined ? undefined : `failed: ${span.error}`].filter(Boolean).join('; '),
  ])
  const width = (column: number) => Math.max(...rows.map(row => row[column]?.length ?? 0))
  const [first, second, third] = [width(0), width(1), width(2)]
  const lines = rows.map(([at = '', what = '', took = '', note = '']) =>
    `  ${at.padStart(first)}  ${what.padEnd(second)}  ${took.padStart(third)}  ${note}`.trimEnd(),
  )
  return dropped === 0 ? lines : [`  (${dropped} older stages are not kept)`, ...lines]
}

const toLength = ({ startedAt, endedAt }: Span, now: Millis): string => {
  if (endedAt === undefined) return `${toDuration(now - startedAt)} so far`
  return endedAt === startedAt ? '' : toDuration(endedAt - startedAt)
}

const toContainers = ({ status }: Pod, now: Millis): string[] => {
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
  const lines = all.flatMap(({ name, state, lastState, ready, restartCount }) => {
    const died = lastState?.terminated
    const before = died ? `, before that ${died.reason ?? 'ended'} with exit code ${died.exitCode}` : ''
    const often = restartCount > 0 ? `, ${restartCount} restarts${before}` : ''
    if (state?.waiting) {
      const { reason = 'waiting', message } = state.waiting
      return [`  ${name}: ${reason}${message === undefined ? '' : `: ${message}`}${often}`]
    }
    if (state?.terminated && state.terminated.exitCode !== 0) {
      return [`  ${name}: ${state.terminated.reason ?? 'Error'}, exit code ${state.terminated.exitCode}${often}`]
    }
    if (state?.running && !ready)
      return [`  ${name}: runs for ${toDuration(now - Date.parse(state.running.startedAt))}, not ready${often}`]
    return restartCount > 0 ? [`  ${name}: fine now${often}`] : []
  })
  return lines.length === 0 ? [] : ['', 'Containers:', ...lines]
}

const toHelp = (code: string | undefined): string[] => {
  const help = code === undefined ? undefined : advice[code]
  return help === undefined ? [] : [`What to do: ${help}`]
}

const toError = ({ at, stage, message, code }: NonNullable<PodTimeline['lastError']>, now: Millis): string[] => [
  `Last error (${stage}, ${toDuration(now - at)} ago): ${message}`,
  ...toHelp(code),
]
