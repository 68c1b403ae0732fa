// Whether the machine is being shut down: who ends pods writes it, admission and whoever shows the Node read it. Decides nothing.
// Follows Admit and ShutdownStatus in pkg/kubelet/nodeshutdown of 1.36.
import type { Admission } from '../admit.ts'

export interface NodeClosing {
  set(isClosing: boolean): void
  /** Why no pod is taken; undefined as long as they are. */
  refused(): Admission | undefined
  /** For the Node's condition Ready. */
  troubles(): readonly string[]
}

export const createNodeClosing = (): NodeClosing => {
  let isClosing = false
  return {
    set: now => {
      isClosing = now
    },
    refused: () =>
      isClosing ? { ok: false, reason: 'NodeShutdown', message: 'Pod was rejected as the node is shutting down.' } : undefined,
    troubles: () => (isClosing ? ['node is shutting down'] : []),
  }
}
