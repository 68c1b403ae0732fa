// The entry of the program: which sub-command is asked for, by word, by the name it was called by, or by the CNI's environment.
// Loads nothing but the one that runs: the plugin and the commands must start fast, the daemon must not carry what it does not use.
import { describe, isFault } from '../host/fault.ts'
import { calledAs } from '../host/own-program.ts'
import { kubeletVersion, version } from '../host/version.ts'
import type { SetupDeps } from '../setup/doctor.ts'

type Run = (argv: readonly string[]) => Promise<number>

interface Command {
  readonly summary: string
  readonly run: Run
}

const commands: Readonly<Record<string, Command>> = {
  agent: {
    summary: 'the daemon; takes the flags and files of a kubelet',
    run: async argv => (await import('../agent/main.ts')).run(argv),
  },
  proxy: {
    summary: 'Service routing alone; takes the flags and files of kube-proxy',
    run: async argv => (await import('../proxy/alone/run.ts')).run(argv),
  },
  cni: {
    summary: 'the CNI plugin, by hand: CNI_* in the environment, the configuration on stdin',
    run: async () => (await import('../cni/main.ts')).runPlugin(),
  },
  get: {
    summary: 'pods, services, endpoints, node or problems of this machine',
    run: async argv => (await import('./get.ts')).run(argv),
  },
  logs: { summary: 'what a container wrote', run: async argv => (await import('./logs.ts')).run(argv) },
  exec: { summary: 'runs a program in a container', run: async argv => (await import('./exec.ts')).run(argv) },
  install: {
    summary: 'makes this machine a node: checks it, writes a service, starts it, waits until it is well',
    run: argv => runSetup(() => import('../setup/install.ts'), 'runInstall', argv),
  },
  uninstall: {
    summary: 'takes all of it away again',
    run: argv => runSetup(() => import('../setup/uninstall.ts'), 'runUninstall', argv),
  },
  doctor: {
    summary: 'what on this machine would keep a node from working, and what to do about it',
    run: argv => runSetup(() => import('../setup/doctor.ts'), 'runDoctor', argv),
  },
  why: { summary: 'the timeline of a pod and what it waits for', run: async argv => (await import('./why.ts')).run(argv) },
  trace: { summary: 'the way of a packet to a Service', run: async argv => (await import('./trace.ts')).run(argv) },
  diff: {
    summary: 'what the kernel holds of Services, against what it should',
    run: async argv => (await import('./diff.ts')).run(argv),
  },
}

/** The commands that set a machine up: they wait, and nothing else keeps the process. */
const runSetup = async <F extends 'runInstall' | 'runUninstall' | 'runDoctor'>(
  load: () => Promise<{ readonly [name in F]: (argv: readonly string[], deps: SetupDeps) => Promise<number> }>,
  name: F,
  argv: readonly string[],
): Promise<number> => {
  const [{ systemExec: exec }, { systemClock: clock, holdProcess }, setup] = await Promise.all([
    import('../host/exec.ts'),
    import('../host/clock.ts'),
    load(),
  ])
  const out = (text: string) => void process.stdout.write(text)
  const err = (text: string) => void process.stderr.write(text)
  const held = holdProcess()
  try {
    return await setup[name](argv, { exec, clock, out, err })
  } finally {
    held.cancel()
  }
}

/** Asked for by the daemon alone. */
const internal: Readonly<Record<string, Run>> = {
  x509: async () => (await import('../agent/identity/x509-apart.ts')).runX509(),
}

/** What links to this program are called, and what they then are. */
const disguises: Readonly<Record<string, string>> = { kubelet: 'agent', 'kube-proxy': 'proxy' }

export interface Call {
  /** The last part of the path by which the program was called. */
  readonly calledAs: string
  readonly argv: readonly string[]
  /** CNI_COMMAND is set. */
  readonly isPlugin: boolean
}

export type Decision =
  | { readonly do: 'run'; readonly command: string; readonly argv: readonly string[] }
  | { readonly do: 'print'; readonly text: string }
  | { readonly do: 'refuse'; readonly text: string }

const help = (): string => {
  const rows = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(9)} ${summary}\n`)
  return `usage: nodelet COMMAND [flags]\n\n${rows.join('')}\nnodelet COMMAND --help says more; nodelet --version prints the version.\n`
}

const versionText = (disguised: boolean): string => (disguised ? `Kubernetes ${kubeletVersion}\n` : `nodelet ${version}\n`)

/** What a call asks for. */
export const decide = ({ calledAs, argv, isPlugin }: Call): Decision => {
  if (isPlugin) return { do: 'run', command: 'cni', argv }
  // The daemon's own children inherit by which name it was called.
  if (argv[0] !== undefined && Object.hasOwn(internal, argv[0])) return { do: 'run', command: argv[0], argv: argv.slice(1) }
  const disguise = disguises[calledAs]
  const [first, ...rest] = disguise === undefined ? argv : [disguise, ...argv]
  const isDaemon = first === 'agent' || first === 'proxy'
  if (isDaemon && rest.some(word => word === '--version' || word === '--version=true'))
    return { do: 'print', text: versionText(true) }
  if (first === '--version' || first === 'version') return { do: 'print', text: versionText(false) }
  if (first === undefined) return { do: 'refuse', text: help() }
  if (first === 'help' || first === '--help' || first === '-h') return { do: 'print', text: help() }
  if (isDaemon && rest.some(word => word === '--help' || word === '-h')) {
    const [upstream, ours] =
      first === 'agent' ? ['the kubelet', 'docs/configuration.md'] : ['kube-proxy', 'docs/configuration.md']
    return {
      do: 'print',
      text: `usage: nodelet ${first} [flags of ${upstream}]\n\n${commands[first]!.summary}; ${ours} lists them.\n`,
    }
  }
  if (Object.hasOwn(commands, first)) return { do: 'run', command: first, argv: rest }
  return {
    do: 'refuse',
    text: `nodelet: ${JSON.stringify(first)}: unknown command: want one of ${Object.keys(commands).join(', ')}\n`,
  }
}

/** Does what the call asks for. @returns the exit code: 0 done, 1 failed, 2 called or configured in a wrong way */
export const main = async (call: Call): Promise<number> => {
  const decision = decide(call)
  if (decision.do === 'print') {
    process.stdout.write(decision.text)
    return 0
  }
  if (decision.do === 'refuse') {
    process.stderr.write(decision.text)
    return 2
  }
  try {
    const run = internal[decision.command] ?? commands[decision.command]!.run
    return await run(decision.argv)
  } catch (error) {
    process.stderr.write(`nodelet ${decision.command}: ${describe(error)}\n`)
    return isFault(error, 'bad-config') ? 2 : 1
  }
}

// Explicitly: what still listens (a child that watches, a terminal) must not keep a program that is done. Writes to pipes and files
// are synchronous on Linux, so nothing is lost.
if (import.meta.main) {
  const exitCode = await main({
    calledAs: calledAs(),
    argv: process.argv.slice(2),
    isPlugin: process.env['CNI_COMMAND'] !== undefined,
  })
  process.exit(exitCode)
}
