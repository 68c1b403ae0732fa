// The exec probe: success when the command exits with 0 in the container. Asks the runtime and nothing else.
// A command that takes too long is a failure; a runtime that cannot run it at all is no answer. Follows ExecAction of the API reference.
import type { EnvVar } from '../api/types.ts'
import { describe, isFault } from '../host/fault.ts'
import type { Answer } from './probe.ts'

/** The one call that this needs of the CRI client (api/cri/client.ts). */
export interface ExecSync {
  /** Runs a command to its end; rejects with Fault `runtime-timeout` when it takes longer; 0 seconds is no limit. */
  execSync(
    containerId: string,
    command: readonly string[],
    timeoutSeconds: number,
    options?: { readonly signal?: AbortSignal },
  ): Promise<ExecOutput>
}

export interface ExecOutput {
  readonly stdout: Uint8Array
  readonly stderr: Uint8Array
  readonly exitCode: number
}

export interface ExecProbe {
  readonly containerId: string
  readonly command: readonly string[]
  readonly timeoutSeconds: number
}

const outputLimit = 10 * 1024

/** What a command wrote, stdout first, cut to what fits into an event. */
export const toText = ({ stdout, stderr }: ExecOutput): string =>
  Buffer.concat([stdout, stderr]).subarray(0, outputLimit).toString('utf8')

/** Runs the command. Never rejects. */
export const probeExec = async (probe: ExecProbe, cri: ExecSync, signal: AbortSignal): Promise<Answer> => {
  try {
    const output = await cri.execSync(probe.containerId, probe.command, probe.timeoutSeconds, { signal })
    return { outcome: output.exitCode === 0 ? 'success' : 'failure', message: toText(output) }
  } catch (error) {
    if (isFault(error, 'runtime-timeout')) {
      return {
        outcome: 'failure',
        message: `command timed out: "${probe.command.join(' ')}" timed out after ${probe.timeoutSeconds}s`,
      }
    }
    return { outcome: 'error', message: describe(error) }
  }
}

/**
 * The command with `$(NAME)` replaced by the container's literal environment values; `$$(NAME)` stays as `$(NAME)`.
 * References to unknown names, and to names whose value comes from elsewhere, stay as they are written.
 */
export const expandStatic = (command: readonly string[], env: readonly EnvVar[] = []): readonly string[] => {
  const values = new Map(env.filter(it => it.valueFrom === undefined).map(it => [it.name, it.value ?? '']))
  const expand = (text: string) =>
    text.replace(/\$\$|\$\(([^)]*)\)/g, (whole, name: string | undefined) =>
      name === undefined ? '$' : (values.get(name) ?? whole),
    )
  return command.map(expand)
}
