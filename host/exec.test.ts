// Programs get all of their input or none of it, and those that stay do not outlive us.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
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
