// What iptables is asked, and what is made of its answers.
import t from 'tap'
import type { RunOptions, RunResult } from './exec.ts'
import { isFault } from './fault.ts'
import { openIptables } from './iptables.ts'

type Answer = Partial<RunResult> | Error

const start = (answers: Readonly<Record<string, Answer>>) => {
  const calls: { readonly argv: string; readonly input: string | undefined }[] = []
  const exec = {
    try: async (argv: readonly string[], options?: RunOptions): Promise<RunResult> => {
      const text = argv.join(' ')
      calls.push({ argv: text, input: options?.input })
      const answer = answers[text] ?? answers[argv[0]!] ?? {}
      if (answer instanceof Error) throw answer
      return { exitCode: 0, stdout: '', stderr: '', ...answer }
    },
  }
  return { calls, exec }
}

t.test('the two kinds are told apart by the version', async t => {
  for (const [said, variant] of [
    ['iptables v1.8.9 (nf_tables)\n', 'nft'],
    ['iptables v1.8.9 (legacy)\n', 'legacy'],
    ['iptables v1.6.1\n', 'legacy'],
  ] as const)
    t.equal((await openIptables(start({ iptables: { stdout: said } }).exec, 'iptables')).variant, variant, said.trim())
})

t.test('a program that is not there is named', async t => {
  const fault = await openIptables(start({ ip6tables: new Error('ENOENT') }).exec, 'ip6tables').catch(error => error)
  t.ok(isFault(fault, 'unsupported'))
  t.match(fault.message, /ip6tables: there is no such program/)
})

t.test('text goes in by restore, which waits for the lock and leaves other chains alone', async t => {
  const { calls, exec } = start({})
  await (await openIptables(exec, 'iptables')).restore('*nat\nCOMMIT\n')
  t.same(calls.at(-1), { argv: 'iptables-restore -w 5 --noflush', input: '*nat\nCOMMIT\n' })
})

t.test('what is refused is told in the words of the program', async t => {
  const busy = 'Another app is currently holding the xtables lock; still 0s 500000us time ahead'
  const iptables = await openIptables(start({ 'iptables-restore': { exitCode: 4, stderr: `${busy}\n` } }).exec, 'iptables')
  for (const refused of [iptables.restore('*nat\nCOMMIT\n'), iptables.missing([{ table: 'nat', rule: ['A'] }])]) {
    const fault = await refused.then(
      () => undefined,
      error => error,
    )
    t.ok(isFault(fault, 'kernel-refused'))
    t.match(fault.message, busy)
    t.equal(fault.retry, 'now', 'and the lock is free again soon')
  }
})

t.test('rules are looked for all at once; only when one is gone, which', async t => {
  const rules = [
    { table: 'nat', rule: ['PREROUTING', '-m', 'comment', '--comment', 'two words', '-j', 'A'] },
    { table: 'filter', rule: ['INPUT', '-j', 'B'] },
  ]
  const whole = start({})
  t.same(await (await openIptables(whole.exec, 'iptables')).missing(rules), [])
  t.equal(
    whole.calls.at(-1)?.input,
    '*nat\n-C PREROUTING -m comment --comment "two words" -j A\nCOMMIT\n*filter\n-C INPUT -j B\nCOMMIT\n',
  )
  t.equal(whole.calls.length, 2, 'one process beside that of the version')
  const broken = start({ 'iptables-restore': { exitCode: 1 }, 'iptables -w 5 -t filter -C INPUT -j B': { exitCode: 1 } })
  t.same(await (await openIptables(broken.exec, 'iptables')).missing(rules), [rules[1]])
})

t.test('whether a chain is there', async t => {
  const iptables = await openIptables(start({ 'iptables -w 5 -t mangle -S GONE': { exitCode: 1 } }).exec, 'iptables')
  t.equal(await iptables.hasChain('mangle', 'GONE'), false)
  t.equal(await iptables.hasChain('mangle', 'THERE'), true)
})
