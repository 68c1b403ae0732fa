// Both kinds of iptables beside each other: programs are started under other names than those by which the proxy knows them.
import type { Exec } from '../../host/exec.ts'

export type IptablesKind = 'nft' | 'legacy'

/** The program of that kind, of iptables and its relatives; others are what they are. */
export const ofKind = (program: string, kind: IptablesKind): string =>
  program.replace(/^(ip6?tables)(?!-nft|-legacy)/, `$1-${kind}`)

/** Starts other programs than it is told to. @param env over that of this process, asked for each time */
export const withPrograms = (
  exec: Exec,
  nameOf: (program: string) => string,
  env?: () => Readonly<Record<string, string>>,
): Exec => {
  const named = ([program = '', ...args]: readonly string[]) => [nameOf(program), ...args]
  const withEnv = env === undefined ? undefined : () => ({ env: env() })
  return {
    run: (argv, options) => exec.run(named(argv), { ...options, ...withEnv?.() }),
    try: (argv, options) => exec.try(named(argv), { ...options, ...withEnv?.() }),
    watch: (argv, onLine) => exec.watch(named(argv), onLine),
  }
}
