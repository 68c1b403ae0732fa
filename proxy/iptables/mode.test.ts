// What a start in the iptables mode makes of programs that answer otherwise than they should.
import t from 'tap'
import { systemClock as clock } from '../../host/clock.ts'
import type { Exec, RunResult } from '../../host/exec.ts'
import { isFault } from '../../host/fault.ts'
import { createLog } from '../../host/log.ts'
import { openIptablesMode } from './mode.ts'

const held = 'Another app is currently holding the xtables lock; still 0s 0us time ahead to have a chance to grab the lock...'

/** @param restore the answers of iptables-restore of IPv4, one after the other; then it succeeds */
const start = (restore: readonly Partial<RunResult>[]) => {
  const lines: string[] = []
  const asked: string[] = []
  const answers = [...restore]
  const exec = {
    try: async ([program = '']: readonly string[]): Promise<RunResult> => {
      asked.push(program)
      const answer = program === 'iptables-restore' ? answers.shift() : undefined
      return { exitCode: 0, stdout: 'iptables v1.8.9 (legacy)', stderr: '', ...answer }
    },
  } as unknown as Exec
  const log = createLog({ verbosity: 0, human: false, write: line => lines.push(line) })
  return { lines, asked, open: () => openIptablesMode({ exec, clock, log }) }
}

t.test('a lock that others hold at the start is waited for, and no family is left out for it', async t => {
  const { lines, open } = start(Array.from({ length: 3 }, () => ({ exitCode: 4, stderr: held })))
  t.same((await open()).families, ['IPv4', 'IPv6'])
  t.equal(lines.length, 1, 'one line of the log')
  t.match(lines[0], /"command":"iptables".*waiting: iptables-restore: Another app is currently holding the xtables lock/)
})

t.test('but not for ever', async t => {
  const { asked, lines, open } = start(Array.from({ length: 99 }, () => ({ exitCode: 4, stderr: held })))
  t.same((await open()).families, ['IPv6'], 'the other family is routed')
  t.equal(asked.filter(program => program === 'iptables-restore').length, 12)
  t.match(lines.at(-1), /holding the xtables lock.*Services of this family cannot be routed here/)
})

t.test('a lock that cannot be had at all is told with its reason', async t => {
  const stderr = "Fatal: can't open lock file /run/xtables.lock: Read-only file system"
  const { lines, open } = start(Array.from({ length: 9 }, () => ({ exitCode: 4, stderr })))
  t.same((await open()).families, ['IPv6'])
  t.match(lines, [/"family":"IPv4".*Read-only file system|Read-only file system.*"family":"IPv4"/])
})

t.test('without any program the start says which mode may do', async t => {
  const exec = { try: () => Promise.reject(new Error('ENOENT')) } as unknown as Exec
  const refusal = await openIptablesMode({
    exec,
    clock,
    log: createLog({ verbosity: 0, human: false, write: () => undefined }),
  }).catch(error => error)
  t.ok(isFault(refusal, 'unsupported'))
  t.match(refusal.message, /no iptables that the iptables mode can use \(nftables may do\): iptables: there is no such program/)
})
