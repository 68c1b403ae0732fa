// x509.ts in a process of its own, for a daemon that counts its memory: a request is made a few times a year and takes 0.2 s, the library
// would keep 14 to 17 MB for good. The key goes by stdin, never by an argument. Started through host/exec.ts.
import { text } from 'node:stream/consumers'
import type { Exec } from '../../host/exec.ts'
import type { MakeX509, X509Job } from './x509.ts'

/** @param argv how to start a process that calls runX509: the program, then its arguments */
export const makeX509Apart =
  ({ exec, argv }: { readonly exec: Pick<Exec, 'run'>; readonly argv: readonly string[] }): MakeX509 =>
  async job =>
    `${(await exec.run(argv, { input: JSON.stringify(job) })).stdout.trimEnd()}\n`

/** The other side: reads one job from stdin and writes its PEM to stdout. @returns the exit code */
export const runX509 = async (): Promise<number> => {
  const job = JSON.parse(await text(process.stdin)) as X509Job
  const { makeX509 } = await import('./x509.ts')
  process.stdout.write(await makeX509(job))
  return 0
}
