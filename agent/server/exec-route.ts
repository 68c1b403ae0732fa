// POST /v1/pods/NAMESPACE/NAME/exec with an upgrade: asks the runtime for a stream, then joins the client with it (tunnel.ts).
import type { Cri } from '../../api/cri/cri.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { findContainer, runningId } from './find.ts'
import { isSet } from './log-route.ts'
import { tunnel, type Upgrade } from './tunnel.ts'

export type ExecCri = Pick<Cri, 'exec'>

/**
 * Joins the client with the command that the runtime starts for it.
 * @throws Fault while nothing has been sent to the client yet
 */
export const serveExec = async (
  pod: Pod,
  query: URLSearchParams,
  upgrade: Upgrade,
  { cri, clock }: { readonly cri: ExecCri; readonly clock: Clock },
): Promise<void> => {
  const cmd = query.getAll('command')
  if (cmd.length === 0) throw new Fault('bad-config', 'no command was given', { retry: 'never' })
  const container = findContainer(pod, query.get('container') ?? undefined)
  const tty = isSet(query, 'tty')
  const stdin = isSet(query, 'stdin')
  // A terminal has one output; the runtime refuses stderr beside it.
  const url = await cri.exec({ containerId: runningId(pod, container), cmd, tty, stdin, stdout: true, stderr: !tty })
  await tunnel(new URL(url), upgrade, { clock })
}
