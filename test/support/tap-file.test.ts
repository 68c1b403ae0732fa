// The runner tells the truth about a file: what passed, what failed and why, and that silence is no success.
import { basename, join } from 'node:path'
import t from 'tap'
import { type FileResult, runFile, runFiles } from './tap-file.ts'

// With something to tear down tap ends as soon as there is nothing to do.
const waits = `import t from 'tap'
t.teardown(() => undefined)
await new Promise(resolve => setTimeout(resolve, 50))
t.test('a', async t => t.ok(true))
`
// As few processes as show it all: what can stand in one file does.
const dir = t.testdir({
  'many.ts': `import t from 'tap'
t.ok(true)
t.test('a', async t => { t.ok(1); t.ok(2); t.test('b', async t => { t.ok(3) }) })
t.test('sums', async t => { t.ok(true); t.equal(1 + 1, 3) })
t.test('never asserts', async () => { throw new Error('boom') })
t.test('later', { skip: 'not here' }, async t => { t.fail() })
t.test('one', async t => { t.fail('no') })
t.test('two of three', t => { t.plan(3); t.ok(1); t.ok(2); t.end() })
t.test('says nothing', async () => undefined)
`,
  'good.ts': "import t from 'tap'\nt.test('a', async t => t.ok(true))\n",
  'waits.ts': waits,
  'waits-too.ts': waits,
  'silent.ts': 'export {}\n',
  'quits.ts': "import t from 'tap'\nt.test('a', async t => { t.ok(true); process.exit(0) })\n",
  'crashes.ts': "import t from 'tap'\nt.ok(true)\nconsole.error('last words')\nprocess.exit(3)\n",
  'hangs.ts': "import t from 'tap'\nt.ok(true)\nsetInterval(() => undefined, 1000)\nawait new Promise(() => undefined)\n",
  'broken.ts': 'this is no program\n',
})

const env = {}
const run = (name: string, timeoutMs = 50_000) => runFile(join(dir, name), { timeoutMs, env })

t.test('a file with failures', async t => {
  const { passed, skipped, failures } = await run('many.ts')
  t.equal(passed, 7, 'assertions are counted, however deep')
  t.equal(skipped, 1, 'a skipped test is counted as such')
  const expected = [
    ['a failure comes with its path and its difference', /many\.ts: sums > [\s\S]*\n[\s\S]*-3[\s\S]*\+2/],
    ['a test that throws has failed once', /never asserts > boom/],
    ['a failure without a difference is told by its name', /one > no/],
    ['a broken plan is told beside other failures', /two of three/],
    ['a test that asserts nothing has failed', /says nothing: asserted nothing/],
  ] as const
  for (const [at, [name, pattern]] of expected.entries()) t.match(failures[at], pattern, name)
  t.equal(failures.length, expected.length, 'and nothing is told twice')
})

for (const [name, file, expected] of [
  ['a file that asserts nothing has failed', 'silent.ts', { passed: 0, failures: [/asserted nothing/] }],
  ['a file that does not parse has failed', 'broken.ts', { passed: 0, failures: [/exit code 1/] }],
] as const) {
  t.test(name, async t => {
    const result = await run(file)
    t.match(result, expected)
    t.equal(result.failures.length, expected.failures.length)
  })
}

t.test('a file that runs out of time is ended', async t => {
  const { failures, ms } = await run('hangs.ts', 300)
  t.match(failures.join('\n'), /took longer than 0\.3 s/)
  t.ok(ms < 30_000)
})

t.test('files that share a process answer for themselves', async t => {
  const names = ['good.ts', 'waits.ts', 'waits-too.ts', 'many.ts', 'silent.ts', 'broken.ts', 'crashes.ts', 'quits.ts', 'good.ts']
  const results: FileResult[] = []
  await runFiles(
    names.map(name => join(dir, name)),
    { timeoutMs: 50_000, env },
    result => results.push(result),
  )
  t.equal(results.length, names.length)
  for (const [name, expected] of [
    ['good.ts', [{ passed: 1 }, { passed: 1 }]],
    ['waits-too.ts', [{ passed: 1 }]],
    ['many.ts', [{ passed: 7, skipped: 1, failures: [/sums/, /boom/, /no/, /two of three/, /asserted nothing/] }]],
    ['silent.ts', [{ passed: 0, failures: [/silent\.ts: asserted nothing/] }]],
    ['broken.ts', [{ passed: 0, failures: [/broken\.ts: load [\s\S]*SyntaxError/] }]],
    ['crashes.ts', [{ passed: 1, failures: [/unfinished[\s\S]*last words/] }]],
    ['quits.ts', [{ failures: [/unfinished/] }]],
  ] as [string, Partial<FileResult>[]][]) {
    const found = results.filter(({ path }) => basename(path) === name)
    t.match(found, expected, name)
    t.same(
      found.map(({ failures }) => failures.length),
      expected.map(({ failures = [] }) => failures.length),
    )
  }
})
