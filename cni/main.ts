// The plugin as a program of its own: reads CNI_* and stdin as the specification says, answers on stdout. Run by the shim when no
// daemon answers, and by hand. The same code as the daemon's, under the same lock.
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { systemClock } from '../host/clock.ts'
import { systemExec } from '../host/exec.ts'
import { createLink } from '../host/link.ts'
import { createNft } from '../host/nft.ts'
import { systemSysctl } from './bridge.ts'
import type { CniDeps } from './networks.ts'
import { createCni } from './plugin.ts'

export { type Cni, createCni } from './plugin.ts'

/** The real parts of this machine. @param log of the daemon, or one to stderr */
export const systemCniDeps = async (log: CniDeps['log']): Promise<CniDeps> => ({
  exec: systemExec,
  link: createLink(systemExec),
  nft: createNft(systemExec),
  sysctl: systemSysctl,
  clock: systemClock,
  log,
  bootId: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
})

// pino is not worth its start here: one call, at most a line or two, which the runtime logs as they are.
const stderrLog = (): CniDeps['log'] => {
  const write = (fields: object, message: string) =>
    void process.stderr.write(
      `${message}: ${JSON.stringify(fields, (_, value) => (value instanceof Error ? value.message : value))}\n`,
    )
  const log: CniDeps['log'] = { error: write, warn: write, info: write, debug: () => undefined, child: () => log }
  return log
}

/** Answers the one call that the environment describes. @returns the exit code */
export const runPlugin = async (): Promise<number> => {
  const env = Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      name.startsWith('CNI_') && value !== undefined ? [[name, value]] : [],
    ),
  )
  const cni = createCni(await systemCniDeps(stderrLog()))
  const reply = await cni.call({ env, stdin: await text(process.stdin) })
  await cni.close()
  process.stdout.write(reply.stdout)
  return reply.exitCode
}

if (import.meta.main) process.exitCode = await runPlugin()
