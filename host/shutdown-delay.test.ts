import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { fakeClock } from './clock.fake.ts'
import type { Exec } from './exec.ts'
import { silentLog } from './log.ts'
import { createShutdownDelay, toAnnouncement, toDelaySeconds } from './shutdown-delay.ts'

const announcement = (isShuttingDown: boolean) =>
  `{"type":"signal","endian":"l","sender":":1.2","path":"/org/freedesktop/login1","interface":"org.freedesktop.login1.Manager","member":"PrepareForShutdown","payload":{"type":"b","data":[${isShuttingDown}]}}`

t.test('what busctl prints', async t => {
  t.equal(toAnnouncement(announcement(true)), true)
  t.equal(toAnnouncement(announcement(false)), false)
  for (const line of ['', 'PrepareForShutdown', '{"type":"signal","member":"PrepareForSleep","payload":{"data":[true]}}'])
    t.equal(toAnnouncement(line), undefined)
  t.equal(toDelaySeconds('t 5000000\n'), 5)
  t.equal(toDelaySeconds('nothing'), 0)
})

const world = async (grants: readonly number[]) => {
  const dir = await mkdtemp(join(tmpdir(), 'nlt-logind-'))
  t.teardown(() => rm(dir, { recursive: true }))
  const said: string[] = []
  const running = new Map<string, (line: string) => void>()
  const left = [...grants]
  const exec: Exec = {
    run: async argv => {
      if (argv[0] !== 'busctl') said.push(argv.join(' '))
      return { exitCode: 0, stdout: `t ${(left.length > 1 ? left.shift() : left[0])! * 1e6}\n`, stderr: '' }
    },
    try: async () => ({ exitCode: 0, stdout: '', stderr: '' }),
    watch: ([program = ''], onLine) => {
      running.set(program, onLine)
      return { ended: new Promise(() => undefined), stop: () => void running.delete(program) }
    },
  }
  const announced: boolean[] = []
  const logindFile = join(dir, 'conf.d/99-nodelet.conf')
  const clock = fakeClock()
  const delay = createShutdownDelay({ exec, clock, log: silentLog, onAnnounced: it => announced.push(it), logindFile })
  return { delay, said, running, announced, logindFile, clock }
}

t.test('logind is asked for the time that pods need, the lock is held, and a shutdown is heard of', async t => {
  const { delay, said, running, announced, logindFile } = await world([5, 30])
  await delay.start(30)
  t.match(await readFile(logindFile, 'utf8'), /\[Login\]\nInhibitDelayMaxSec=30\n/)
  t.same(said, ['systemctl kill --signal=HUP systemd-logind.service'])
  t.ok(running.has('systemd-inhibit'))
  running.get('busctl')?.(announcement(true))
  t.same(announced, [true])
  delay.release()
  t.notOk(running.has('systemd-inhibit'), 'the machine may go on')
  delay.hold()
  t.ok(running.has('systemd-inhibit'))
  delay.stop()
  t.same([...running.keys()], [])
})

t.test('a logind that grants enough is left as it is', async t => {
  const { delay, said, logindFile } = await world([60])
  await delay.start(30)
  t.same(said, [])
  await t.rejects(readFile(logindFile))
})

t.test('one that does not is said', async t => {
  const { delay, clock } = await world([5])
  let said = ''
  const started = delay.start(30).catch(error => {
    said = `${error.code}: ${error.message}`
  })
  while (said === '') await clock.advance(1000)
  await started
  t.match(said, /^unsupported: logind grants 5 s, and not 30/)
})
