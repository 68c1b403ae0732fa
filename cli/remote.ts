// A command that runs in a container: its streams over one SPDY connection, from the first byte to its exit status.
// Owns the connection, not the terminal. Follows the v4.channel.k8s.io remote command protocol: the error stream carries a
// Status whose cause ExitCode is the command's, and the resize stream one JSON object per size.
import type { Duplex, Readable, Writable } from 'node:stream'
import { Fault } from '../host/fault.ts'
import { createDecoder, type Frame, openStream, toData } from './spdy.ts'

export const protocol = 'v4.channel.k8s.io'

export interface Size {
  readonly columns: number
  readonly rows: number
}

export interface RemoteStreams {
  readonly stdin: Readable | undefined
  readonly stdout: Writable
  readonly stderr: Writable
  /** A terminal: no stderr of its own, and sizes. */
  readonly tty: boolean
  /** Tells the size now, and whenever it changes; returns how to stop. */
  readonly onSize?: (tell: (size: Size) => void) => () => void
}

const ids = { error: 1, stdout: 3, stderr: 5, stdin: 7, resize: 9 }
const streamNames = Object.keys(ids) as (keyof typeof ids)[]

interface Status {
  readonly status?: string
  readonly message?: string
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] }
}

/**
 * Runs the streams until the command has ended.
 * @returns its exit code
 * @throws Fault `runtime-refused` when it could not be run, `runtime-away` when the connection breaks off
 */
export const runRemote = async (socket: Duplex, head: Buffer, streams: RemoteStreams): Promise<number> => {
  const { stdin, stdout, stderr, tty, onSize } = streams
  const wanted = { error: true, stdout: true, stderr: !tty, stdin: stdin !== undefined, resize: tty }
  const names = streamNames.filter(name => wanted[name])
  names.forEach((name, i) => {
    socket.write(openStream(ids[name], { streamtype: name }, i === 0))
  })
  const tell = ({ columns, rows }: Size) =>
    void socket.write(toData(ids.resize, Buffer.from(`${JSON.stringify({ Width: columns, Height: rows })}\n`)))
  const stops: (() => void)[] = []
  const onAccepted = () => {
    if (tty && onSize) stops.push(onSize(tell))
    if (stdin) stops.push(send(stdin, socket))
  }
  try {
    return toExitCode(await receive({ socket, head, stdout, stderr, onAccepted }, names.length))
  } finally {
    for (const stop of stops) stop()
    socket.destroy()
  }
}

/** Passes input on, no faster than the connection takes it. Returns how to stop. */
const send = (stdin: Readable, socket: Duplex): (() => void) => {
  const onData = (data: Buffer) => {
    if (socket.write(toData(ids.stdin, data))) return
    stdin.pause()
    socket.once('drain', () => stdin.resume())
  }
  const onEnd = () => void socket.write(toData(ids.stdin, Buffer.alloc(0), true))
  stdin.on('data', onData).on('end', onEnd).on('error', onEnd)
  return () => {
    stdin.off('data', onData).off('end', onEnd).off('error', onEnd)
    stdin.pause()
  }
}

interface Receiving {
  readonly socket: Duplex
  readonly head: Buffer
  readonly stdout: Writable
  readonly stderr: Writable
  /** All streams are open. */
  readonly onAccepted: () => void
}

const receive = ({ socket, head, stdout, stderr, onAccepted }: Receiving, streams: number): Promise<Status> =>
  new Promise((resolve, reject) => {
    let status = ''
    let accepted = 0
    const pass = (to: Writable, data: Buffer) => {
      if (to.write(data)) return
      socket.pause()
      to.once('drain', () => socket.resume())
    }
    const onFrame = (frame: Frame) => {
      if (frame.type === 'ping') return void socket.write(frame.reply)
      if (frame.type === 'refused') return reject(new Fault('runtime-refused', 'the runtime refused a stream of the command'))
      if (frame.type === 'accepted') return ++accepted === streams ? onAccepted() : undefined
      if (frame.stream === ids.stdout) pass(stdout, frame.data)
      if (frame.stream === ids.stderr) pass(stderr, frame.data)
      if (frame.stream !== ids.error) return
      status += frame.data.toString('utf8')
      // The status is the last thing that is sent: all output has come.
      const whole = toStatus(status)
      if (whole !== undefined) resolve(whole)
    }
    const decode = createDecoder(onFrame)
    socket.on('data', decode)
    socket.on('error', () => undefined)
    socket.on('close', () => reject(new Fault('runtime-away', 'the connection broke off before the command had ended')))
    decode(head)
  })

const toStatus = (text: string): Status | undefined => {
  try {
    return JSON.parse(text) as Status
  } catch {
    return undefined
  }
}

const toExitCode = ({ status, message, details }: Status): number => {
  if (status === 'Success') return 0
  const code = details?.causes?.find(it => it.reason === 'ExitCode')?.message
  if (code !== undefined && /^\d+$/.test(code)) return Number(code)
  throw new Fault('runtime-refused', message ?? 'the command could not be run')
}
