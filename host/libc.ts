// The C library of this process, by node:ffi: the few calls that Node does not offer. Opened once, when the first of them is needed.
// Each call blocks this thread, so none belongs here that waits for a program, a disk or a server.
import { Fault } from './fault.ts'

const functions = {
  posix_spawnp: { arguments: ['pointer', 'string', 'pointer', 'pointer', 'pointer', 'pointer'], return: 'int32' },
  posix_spawn_file_actions_init: { arguments: ['pointer'], return: 'int32' },
  posix_spawn_file_actions_adddup2: { arguments: ['pointer', 'int32', 'int32'], return: 'int32' },
  posix_spawn_file_actions_destroy: { arguments: ['pointer'], return: 'int32' },
  posix_spawnattr_init: { arguments: ['pointer'], return: 'int32' },
  posix_spawnattr_setflags: { arguments: ['pointer', 'int16'], return: 'int32' },
  posix_spawnattr_setsigdefault: { arguments: ['pointer', 'pointer'], return: 'int32' },
  posix_spawnattr_setsigmask: { arguments: ['pointer', 'pointer'], return: 'int32' },
  memfd_create: { arguments: ['string', 'uint32'], return: 'int32' },
  waitpid: { arguments: ['int32', 'pointer', 'int32'], return: 'int32' },
  setns: { arguments: ['int32', 'int32'], return: 'int32' },
  mount: { arguments: ['string', 'string', 'string', 'uint64', 'string'], return: 'int32' },
} as const

// Node warns that it may change, in the output of whatever program loads it. Ours is pinned.
const loadQuietly = () => {
  const { emitWarning } = process
  process.emitWarning = () => undefined
  try {
    return process.getBuiltinModule('node:ffi')
  } finally {
    process.emitWarning = emitWarning
  }
}

const open = () => {
  const ffi = loadQuietly()
  if (ffi === undefined) throw new Fault('unsupported', `Node ${process.version} has no node:ffi; want 26.1 or later`)
  return {
    /** The functions themselves; their errno is lost, since Node may call others before anybody could read it. */
    c: ffi.dlopen(null, functions).functions,
    /** Where memory lies: it must be held for as long as C code may use it. */
    at: (memory: Buffer): bigint => ffi.getRawPointer(memory),
  }
}

export type Libc = ReturnType<typeof open>

const once = <T>(make: () => T): (() => T) => {
  let made: T | undefined
  return () => {
    made ??= make()
    return made
  }
}

/** @throws Fault `unsupported` when this Node cannot call C functions */
export const libc: () => Libc = once(open)
