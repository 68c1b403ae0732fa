// The ranges that this node's pods get their addresses from, as the controller manager wrote them into the Node; remembered, so that a
// node that starts while the apiserver is away gives its pods addresses all the same. They never change in the life of a Node.
import type { Source } from '../../api/source.ts'
import type { Clock, Timer } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { byText } from '../../host/order.ts'
import { openStateFile } from '../../host/state-file.ts'
import type { NodeObject } from '../node.ts'
import { podCIDRsOf } from '../report/node-object.ts'

export interface PodRanges {
  /** As far as they are known now; empty before that. */
  readonly now: readonly string[]
  /** Resolves when they are known. */
  readonly known: Promise<readonly string[]>
  flush(): Promise<void>
}

export interface PodRangesDeps {
  readonly path: string
  /** A watch of the own Node. */
  readonly node: Source<NodeObject>
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}

/** Between the first of many changes and what comes of them. */
const gatherMs = 500

const parse = (text: string): readonly string[] => {
  const value: unknown = JSON.parse(text)
  if (!Array.isArray(value) || !value.every(it => typeof it === 'string')) throw new Fault('io', 'not a list of ranges')
  return value
}

/** @throws errors of the file system other than that the file is missing */
export const openPodRanges = async ({ path, node, clock, log }: PodRangesDeps): Promise<PodRanges> => {
  const file = await openStateFile<readonly string[]>({
    ...{ path, clock, log, what: 'the memory of the pod ranges', parse, durable: true },
    print: ranges => `${JSON.stringify(ranges)}\n`,
  })
  const { promise: known, resolve } = Promise.withResolvers<readonly string[]>()
  let now = file.remembered ?? []
  if (now.length > 0) resolve(now)
  node.subscribe({
    changed: (_, after) => {
      const ranges = podCIDRsOf(after)
      if (ranges.length === 0 || ranges.join() === now.join()) return
      if (now.length > 0)
        log.warn(
          { before: now, after: ranges },
          'the Node has other pod ranges than before; they are used from the next start on',
        )
      else {
        now = ranges
        resolve(ranges)
      }
      file.save(() => ranges)
    },
  })
  return {
    get now() {
      return now
    },
    known,
    flush: file.flush,
  }
}

/**
 * Tells which ranges the pods of all other nodes have, now and after each change: what goes there keeps its pod's address.
 * Returns how to stop.
 */
export const followClusterRanges = (
  nodes: Source<NodeObject>,
  { clock, onChange }: { readonly clock: Pick<Clock, 'after'>; readonly onChange: (ranges: readonly string[]) => void },
): (() => void) => {
  let told = ''
  let timer: Timer | undefined
  const tell = () => {
    timer = undefined
    const ranges = [...new Set(nodes.list().flatMap(podCIDRsOf))].sort(byText)
    if (ranges.join() === told) return
    told = ranges.join()
    onChange(ranges)
  }
  const stop = nodes.subscribe({
    // Nodes come in crowds: at the start, and when a cluster grows.
    changed: () => {
      timer ??= clock.after(gatherMs, tell)
    },
  })
  return () => {
    timer?.cancel()
    stop()
  }
}
