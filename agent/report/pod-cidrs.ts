// Waits for the ranges that a controller gives this node for its pods. Asks nobody: it follows what the watch of our Node shows.
// Follows k8s.io: Node spec.podCIDRs, which never change once they are set.
import type { Source } from '../../api/source.ts'
import type { NodeObject } from '../node.ts'
import { podCIDRsOf } from './node-object.ts'

/**
 * The ranges of the named Node, as soon as it has some.
 * @throws the signal's reason when it aborts first
 */
export const whenPodCIDRs = (source: Source<NodeObject>, name: string, signal: AbortSignal): Promise<readonly string[]> =>
  new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    let isDone = false
    let stop: (() => void) | undefined
    const end = () => {
      isDone = true
      stop?.()
      signal.removeEventListener('abort', onAbort)
    }
    const onAbort = () => {
      end()
      reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort)
    stop = source.subscribe({
      changed: (_, node) => {
        const ranges = node?.metadata.name === name ? podCIDRsOf(node) : []
        if (ranges.length === 0 || isDone) return
        end()
        resolve(ranges)
      },
    })
    // It may have been there already, before there was anything to stop.
    if (isDone) stop()
  })
