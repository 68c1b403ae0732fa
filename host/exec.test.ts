// Programs get all of their input or none of it, and those that stay do not outlive us.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { systemExec } from './exec.ts'

const dir = await mkdtemp(join(tmpdir(), 'nodelet-exec-'))
t.teardown(() => rm(dir, { recursive: true, force: true }))

/** A program that imports what is tested here, and can be killed. */
const program = (text: string) => {
  const source = `import { systemExec } from ${JSON.stringify(join(import.meta.dirname, 'exec.ts'))}\n${text}`
  return spawn(process.execPath, ['--input-type=module', '--eval', source], { stdio: ['ignore', 'pipe', 'inherit'] })
}
/** Nobody may be there to ask for the exit code of an orphan: a zombie is dead. */
const isAlive = async (pid: number) => {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return status !== undefined && !/\) Z /.test(status)
}
const until = async (check: () => unknown) => {
  for (let tries = 0; tries < 500 && !(await check()); tries++) await new Promise(resolve => setTimeout(resolve, 10))
}

t.test('an input of any length arrives as it is, and leaves no file', async t => {
  const before = (await readdir(tmpdir())).filter(name => name.startsWith('.nodelet-input-'))
  for (const length of [0, 1, 65_535, 65_536, 3_000_000]) {
    const input = 'aß'.repeat(length / 2)
    t.ok((await systemExec.run(['cat'], { input })).stdout === input, `${length} characters`)
  }
  t.same(
    (await readdir(tmpdir())).filter(name => name.startsWith('.nodelet-input-')),
    before,
  )
})

t.test('a program whose caller is killed has all of its input', async t => {
  const out = join(dir, 'count')
  const child = program(`
    setInterval(() => undefined, 1000)
    void systemExec.run(['sh', '-c', 'echo $$ > ${dir}/started; sleep 0.2; wc -c > ${out}.new; mv ${out}.new ${out}'], { input: 'x'.repeat(5e6) })
  `)
  await until(() =>
    readFile(join(dir, 'started')).then(
      () => true,
      () => false,
    ),
  )
  child.kill('SIGKILL')
  await once(child, 'exit')
  await until(() =>
    readFile(out).then(
      () => true,
      () => false,
    ),
  )
  t.equal((await readFile(out, 'utf8')).trim(), '5000000')
})

t.test('a program that stays dies with its caller, however that ends', async t => {
  const child = program(`
    const watched = systemExec.watch(['sh', '-c', 'echo $$; exec sleep 1000'], line => console.log(line))
    await watched.ended
  `)
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  t.ok(await isAlive(Number(line)))
  child.kill('SIGKILL')
  await until(async () => !(await isAlive(Number(line))))
  t.notOk(await isAlive(Number(line)))
})

t.test('what a program says and how it ends is told', async t => {
  const say = 'echo out; echo wrong >&2; echo; exit 3'
  t.same(await systemExec.try(['sh', '-c', say]), { exitCode: 3, stdout: 'out\n', stderr: 'wrong' })
  await t.rejects(systemExec.run(['sh', '-c', say]), { code: 'command', message: `sh -c ${say}: exit code 3: wrong` })
  await t.rejects(systemExec.try(['no-such-program']), {
    code: 'command',
    message: 'no-such-program: spawn no-such-program ENOENT',
  })
  await t.rejects(systemExec.try(['sh', '-c', 'kill -TERM $$']), { message: 'sh -c kill -TERM $$: ended by SIGTERM' })
  await t.rejects(systemExec.try([]), { message: 'no program given' })
})

t.test('a program that takes too long, or is not wanted any more, is ended', async t => {
  await t.rejects(systemExec.run(['sleep', '1000'], { timeoutMs: 50 }), { message: 'sleep 1000: took longer than 0.05 s' })
  const giveUp = new AbortController()
  const running = systemExec.run(['sleep', '1000'], { signal: giveUp.signal })
  giveUp.abort()
  await t.rejects(running, { message: 'sleep 1000: given up' })
  await t.rejects(systemExec.run(['sleep', '1000'], { signal: giveUp.signal }), {
    message: 'sleep 1000: given up before it began',
  })
})

t.test('a program begins as from a shell: our environment and more, signals as usual, no file of ours', async t => {
  process.env['NODELET_EXEC_TEST'] = 'ours'
  const print = ['sh', '-c', 'echo $NODELET_EXEC_TEST $MORE; grep -E "^Sig(Ign|Blk)" /proc/self/status']
  const { stdout } = await systemExec.run(print, { env: { MORE: 'more' } })
  t.same(stdout.split(/\s+/), ['ours', 'more', 'SigBlk:', '0000000000000000', 'SigIgn:', '0000000000000000'])
  const [files] = await Promise.all([
    systemExec.run(['ls', '-l', '/proc/self/fd'], { input: '' }),
    systemExec.run(['true'], { input: 'of another' }),
  ])
  t.same(
    files.stdout.split('\n').flatMap(line => / (\d+) -> \/memfd:/.exec(line)?.[1] ?? []),
    ['0', '1', '2'],
  )
})

t.test('a program is not started when its network namespace is not there, or is none', async t => {
  const marker = join(dir, 'started')
  await rm(marker, { force: true })
  const noNamespace = join(dir, 'none')
  await writeFile(noNamespace, '')
  await systemExec.run(['true'])
  const open = async () => (await readdir('/proc/self/fd')).length
  const before = await open()
  await t.rejects(systemExec.try(['touch', marker], { netns: '/run/netns/nlt-none' }), {
    code: 'not-found',
    message: `touch ${marker}: network namespace /run/netns/nlt-none is not there`,
  })
  await t.rejects(systemExec.try(['touch', marker], { netns: noNamespace }), {
    code: 'network',
    message: `touch ${marker}: network namespace ${noNamespace} cannot be entered`,
  })
  // Our own namespace stays open from now on.
  t.equal(await open(), before + 1)
  await t.rejects(readFile(marker), { code: 'ENOENT' })
})

t.test('many at once each have their own answer, and leave no open file', async t => {
  const open = async () => (await readdir('/proc/self/fd')).length
  const before = await open()
  const numbers = Array.from({ length: 200 }, (_, index) => String(index))
  const answers = await Promise.all(numbers.map(input => systemExec.run(['cat'], { input })))
  t.same(
    answers.map(({ stdout }) => stdout),
    numbers,
  )
  t.equal(await open(), before)
})
