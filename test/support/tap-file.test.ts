// The runner tells the truth about a file: what passed, what failed and why, and that silence is no success.
import { join } from 'node:path'
import t from 'tap'
import { runFile } from './tap-file.ts'

const dir = t.testdir({
  'passes.ts':
    "import t from 'tap'\nt.ok(true)\nt.test('a', async t => { t.ok(1); t.ok(2); t.test('b', async t => { t.ok(3) }) })\n",
  'fails.ts': "import t from 'tap'\nt.test('sums', async t => { t.ok(true); t.equal(1 + 1, 3) })\n",
  'throws.ts': "import t from 'tap'\nt.test('never asserts', async () => { throw new Error('boom') })\n",
  'skips.ts': "import t from 'tap'\nt.ok(true)\nt.test('later', { skip: 'not here' }, async t => { t.fail() })\n",
  'plan.ts':
    "import t from 'tap'\nt.test('one', async t => { t.fail('no') })\nt.test('two of three', t => { t.plan(3); t.ok(1); t.ok(2); t.end() })\n",
  'silent.ts': 'export {}\n',
  'empty.ts': "import t from 'tap'\nt.test('says nothing', async () => undefined)\n",
  'crashes.ts': "import t from 'tap'\nt.ok(true)\nconsole.error('last words')\nprocess.exit(3)\n",
  'hangs.ts': "import t from 'tap'\nt.ok(true)\nsetInterval(() => undefined, 1000)\nawait new Promise(() => undefined)\n",
  'broken.ts': 'this is no program\n',
})

const run = (name: string, timeoutMs = 20_000) => runFile(join(dir, name), { timeoutMs, env: {} })

for (const [name, file, expected] of [
  ['assertions are counted, however deep', 'passes.ts', { passed: 4, skipped: 0, failures: [] }],
  [
    'a failure comes with its path and its difference',
    'fails.ts',
    { passed: 1, failures: [/fails\.ts: sums > [\s\S]*\n[\s\S]*-3[\s\S]*\+2/] },
  ],
  ['a test that throws has failed once', 'throws.ts', { passed: 0, failures: [/never asserts > boom/] }],
  ['a skipped test is counted as such', 'skips.ts', { passed: 1, skipped: 1, failures: [] }],
  ['a broken plan is told beside other failures', 'plan.ts', { passed: 2, failures: [/one > no/, /two of three/] }],
  ['a test that asserts nothing has failed', 'empty.ts', { passed: 0, failures: [/says nothing: asserted nothing/] }],
  ['a file that asserts nothing has failed', 'silent.ts', { passed: 0, failures: [/asserted nothing/] }],
  ['a crash is a failure, with its last words', 'crashes.ts', { failures: [/exit code 3[\s\S]*last words/] }],
  ['a file that does not parse has failed', 'broken.ts', { passed: 0, failures: [/exit code 1/] }],
] as const) {
  t.test(name, async t => {
    const result = await run(file)
    t.match(result, expected)
    t.equal(result.failures.length, expected.failures.length)
  })
}

t.test('a file that runs out of time is ended', async t => {
  const { failures, ms } = await run('hangs.ts', 1500)
  t.match(failures.join('\n'), /took longer than 1\.5 s/)
  t.ok(ms < 10_000)
})
