// How far containerd has come with what it is downloading: the one thing about a pull that the CRI does not tell.
// Only reads; pulls themselves go through the CRI. Follows containerd's api/services/content/v1.
import type { Clock } from '../../host/clock.ts'
import { createRpc } from '../rpc.ts'
import schema from './content.gen.json' with { type: 'json' }

export interface Download {
  /** containerd's name for it, such as `layer-sha256:…`, `manifest-sha256:…`. */
  readonly ref: string
  /** Bytes that are there. */
  readonly offset: number
  /** Bytes that there will be; 0 while that is not known. */
  readonly total: number
}

export interface Content {
  /**
   * What is being downloaded now, by whomever.
   * @throws Fault `unsupported` when the runtime is no containerd
   */
  downloads(signal?: AbortSignal): Promise<readonly Download[]>
  close(): void
}

export interface ContentDeps {
  readonly endpoint: string
  readonly clock: Clock
  /** containerd's namespace; the CRI's is k8s.io. */
  readonly namespace?: string
}

/** Asks the content store of the containerd at `endpoint`. */
export const createContent = ({ endpoint, clock, namespace = 'k8s.io' }: ContentDeps): Content => {
  const rpc = createRpc({ endpoint, schema, clock })
  const headers = { 'containerd-namespace': namespace }
  return {
    downloads: async signal => {
      const options = { headers, timeoutMs: 5000, ...(signal && { signal }) }
      const method = 'containerd.services.content.v1.Content/ListStatuses'
      const { statuses } = await rpc.call<{ statuses: readonly Download[] }>(method, {}, options)
      return statuses.map(({ ref, offset, total }) => ({ ref, offset, total }))
    },
    close: rpc.close,
  }
}
