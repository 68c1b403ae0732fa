// posix_spawn(3) of the C library. Node starts a program by fork(2), which copies the page tables of this process and makes every page
// that is written afterwards fault: measured with 120 MB, 1.4 ms in which nothing else runs here and 1 ms of processor time, and it grows
// with memory. posix_spawn copies nothing: 0.2 ms. Input and output are files in memory, so that nothing is read while the program runs.
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { constants } from 'node:os'
import { holdProcess, type Timer } from './clock.ts'
import { createEnterNetns } from './enter-netns.ts'
import { type Libc, libc } from './libc.ts'

/** How a program ended, and all that it wrote. */
export interface Ended {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined
  readonly signal: string | undefined
  readonly stdout: string
  readonly stderr: string
}

export interface Started {
  readonly ended: Promise<Ended>
  kill(): void
}

export interface SpawnOptions {
  readonly env: NodeJS.ProcessEnv
  /** What the program finds on its standard input; nothing when undefined. */
  readonly input?: string | undefined
  /** Path of the network namespace to start it in; default: our own. */
  readonly netns?: string | undefined
}

// <spawn.h> and <sys/mman.h>
const setSigMask = 0x08
const setSigDefault = 0x04
const closeOnExec = 0x1
const noExec = 0x8
const noHang = 1

// Larger than glibc's and musl's on every architecture.
const attributeBytes = 512
const actionBytes = 128
const signalSetBytes = 128

const nameOf = (numbers: object, wanted: number): string =>
  Object.entries(numbers).find(([, number]) => number === wanted)?.[0] ?? String(wanted)

const readAll = (file: number): string => {
  const bytes = Buffer.allocUnsafe(fstatSync(file).size)
  let length = 0
  for (let read = -1; read !== 0 && length < bytes.length; length += read)
    read = readSync(file, bytes, length, bytes.length - length, length)
  const text = bytes.toString('utf8', 0, length)
  return text.endsWith('\n') ? text.slice(0, -1) : text
}

const writeAll = (file: number, input: string): void => {
  const bytes = Buffer.from(input)
  // At a position, so that the program begins to read at the start.
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, at)
}

/** From the status of wait(2). */
const toEnd = (status: number): Pick<Ended, 'exitCode' | 'signal'> => {
  const signal = status & 0x7f
  if (signal === 0) return { exitCode: (status >> 8) & 0xff, signal: undefined }
  return { exitCode: undefined, signal: nameOf(constants.signals, signal) }
}

/** Memory that C code may write to: it neither moves nor goes as long as this object is held. */
const createMemory = (bytes: number): Buffer => Buffer.from(new ArrayBuffer(bytes))

/** A new file in memory. */
const fileMaker = ({ c }: Libc) => {
  let flags = closeOnExec | noExec
  return (): number => {
    let file = c.memfd_create('nodelet', flags)
    if (file < 0 && flags !== closeOnExec) {
      // Kernels before 6.3 do not know the flag; later ones may insist on it.
      flags = closeOnExec
      file = c.memfd_create('nodelet', flags)
    }
    if (file < 0) throw new Error('the kernel gives no file in memory')
    return file
  }
}

/** Strings as execve(2) takes them: addresses into a text. Both must be held for as long as they are used. */
const toVector = ({ at }: Libc, strings: readonly string[]) => {
  const parts = strings.map(it => Buffer.from(`${it}\0`))
  const text = Buffer.concat(parts)
  const addresses = Buffer.alloc((parts.length + 1) * 8)
  let address = at(text)
  for (const [index, { length }] of parts.entries()) {
    addresses.writeBigUInt64LE(address, index * 8)
    address += BigInt(length)
  }
  return { addresses, text }
}

/** Starts a program whose standard files are these. @returns its process id */
const starter = (library: Libc) => {
  const { c, at } = library
  const enterNetns = createEnterNetns()
  const [attributes, actions, pid] = [createMemory(attributeBytes), createMemory(actionBytes), createMemory(4)]
  const [all, none] = [createMemory(signalSetBytes).fill(0xff), createMemory(signalSetBytes)]
  c.posix_spawnattr_init(at(attributes))
  c.posix_spawnattr_setflags(at(attributes), setSigMask | setSigDefault)
  // Node itself ignores SIGPIPE, which a program would inherit.
  c.posix_spawnattr_setsigdefault(at(attributes), at(all))
  c.posix_spawnattr_setsigmask(at(attributes), at(none))
  // What C code reads while it is called: the garbage collector must not take it for unused.
  const held = new Set<object>()
  return (argv: readonly string[], { env, netns }: SpawnOptions, files: readonly number[]): number => {
    const [program = ''] = argv
    const words = toVector(library, argv)
    const pairs = Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
    const variables = toVector(library, pairs)
    held.add(words).add(variables)
    c.posix_spawn_file_actions_init(at(actions))
    try {
      for (const [to, file] of files.entries()) c.posix_spawn_file_actions_adddup2(at(actions), file, to)
      const [argvAt, envAt] = [at(words.addresses), at(variables.addresses)]
      const spawn = () => c.posix_spawnp(at(pid), program, at(actions), at(attributes), argvAt, envAt)
      const failed = netns === undefined ? spawn() : enterNetns(netns, spawn)
      if (failed !== 0) throw new Error(`spawn ${program} ${nameOf(constants.errno, failed)}`)
      return pid.readInt32LE()
    } finally {
      c.posix_spawn_file_actions_destroy(at(actions))
      held.clear()
    }
  }
}

const open = () => {
  const library = libc()
  const { c, at } = library
  const status = createMemory(4)
  const waiting = new Map<number, (status: number | undefined) => void>()
  let kept: Timer | undefined
  const reap = () => {
    for (const [pid, done] of waiting) {
      const reaped = c.waitpid(pid, at(status), noHang)
      if (reaped === 0) continue
      waiting.delete(pid)
      done(reaped === pid ? status.readInt32LE() : undefined)
    }
    if (waiting.size > 0) return
    kept?.cancel()
    kept = undefined
  }
  process.on('SIGCHLD', reap)
  const whenEnded = (pid: number, done: (status: number | undefined) => void) => {
    waiting.set(pid, done)
    // A listener for a signal alone does not keep a program from ending.
    kept ??= holdProcess()
  }
  const isRunning = (pid: number) => waiting.has(pid)
  const nothing = openSync('/dev/null', 'r')
  return { start: starter(library), createFile: fileMaker(library), nothing, whenEnded, isRunning }
}

const spawnWith = (
  { start, createFile, nothing, whenEnded, isRunning }: ReturnType<typeof open>,
  ...[argv, options]: Parameters<SpawnProgram>
): Started => {
  const files: number[] = []
  const close = () => {
    for (const file of files.splice(0)) closeSync(file)
  }
  const add = (): number => {
    const file = createFile()
    files.push(file)
    return file
  }
  try {
    const { input } = options
    const stdin = input === undefined ? nothing : add()
    if (input !== undefined) writeAll(stdin, input)
    const [stdout, stderr] = [add(), add()]
    const pid = start(argv, options, [stdin, stdout, stderr])
    const { promise: ended, resolve, reject } = Promise.withResolvers<Ended>()
    whenEnded(pid, status => {
      try {
        if (status === undefined) throw new Error('somebody else waited for its end')
        resolve({ ...toEnd(status), stdout: readAll(stdout), stderr: readAll(stderr) })
      } catch (error) {
        reject(error)
      } finally {
        close()
      }
    })
    // Until it was waited for, its number is nobody else's.
    return { ended, kill: () => void (isRunning(pid) && process.kill(pid, 'SIGKILL')) }
  } catch (error) {
    close()
    throw error
  }
}

/**
 * Starts a program, which is looked for as execvp(3) does.
 * @throws Fault `not-found` or `network` when its network namespace cannot be entered, Error when it cannot be started; nothing runs then
 */
export type SpawnProgram = (argv: readonly string[], options: SpawnOptions) => Started

/** Begins to listen for programs that end when the first is started. */
export const createSpawn = (): SpawnProgram => {
  let opened: ReturnType<typeof open> | undefined
  return (argv, options) => {
    opened ??= open()
    return spawnWith(opened, argv, options)
  }
}
