// nodelet exec: runs a command in a container, with a terminal if asked; its exit code is ours.
// Owns the terminal's mode and gives it back whatever happens. The streams are cli/remote.ts's.
import { type Output, parse, podOptions, processOutput, runCommand, toPodPath, UsageError } from './command.ts'
import { protocol, type RemoteStreams, runRemote, type Size } from './remote.ts'
import { createDaemon } from './socket.ts'

export const usage = 'nodelet exec [-i] [-t] [-n NAMESPACE] POD [-c CONTAINER] -- COMMAND [ARGUMENT…]'

const options = {
  ...podOptions,
  container: { type: 'string', short: 'c' },
  stdin: { type: 'boolean', short: 'i' },
  tty: { type: 'boolean', short: 't' },
} as const

/** The terminal of this process, as far as a command needs it. */
export interface Terminal {
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
}

export const run = (argv: readonly string[], output: Output = processOutput, terminal: Terminal = process): Promise<number> =>
  runCommand(usage, argv, output, async () => {
    const { values, positionals } = parse(argv, options)
    const [pod, ...command] = positionals
    const path = toPodPath(pod, values.namespace)
    if (command.length === 0) throw new UsageError('give a command, after --')
    const stdin = values.stdin === true
    const wanted = values.tty === true && stdin
    const tty = wanted && terminal.stdin.isTTY === true
    if (wanted && !tty) output.err('Unable to use a TTY - input is not a terminal or the right kind of file\n')
    const query = new URLSearchParams({ stdin: String(stdin), tty: String(tty) })
    if (values.container !== undefined) query.set('container', values.container)
    for (const word of command) query.append('command', word)
    const daemon = createDaemon(values.socket)
    const headers = { 'X-Stream-Protocol-Version': protocol }
    const { socket, head } = await daemon.upgrade(`${path}/exec?${query}`, 'SPDY/3.1', headers)
    const streams: RemoteStreams = {
      stdin: stdin ? terminal.stdin : undefined,
      stdout: terminal.stdout,
      stderr: terminal.stderr,
      tty,
      onSize: tell => watchSize(terminal.stdout, tell),
    }
    if (tty) terminal.stdin.setRawMode(true)
    try {
      const code = await runRemote(socket, head, streams)
      if (code !== 0) output.err(`command terminated with exit code ${code}\n`)
      return code
    } finally {
      if (tty) terminal.stdin.setRawMode(false)
    }
  })

const watchSize = (stdout: NodeJS.WriteStream, tell: (size: Size) => void): (() => void) => {
  const now = () => tell({ columns: stdout.columns ?? 80, rows: stdout.rows ?? 24 })
  stdout.on('resize', now)
  now()
  return () => void stdout.off('resize', now)
}
