// What a call costs in processes, and in which order, with programs that only write down that they were started.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import type { Exec, RunOptions, RunResult } from '../host/exec.ts'
import { createLink } from '../host/link.ts'
import { silentLog } from '../host/log.ts'
import { createNft } from '../host/nft.ts'
import { createCni } from './plugin.ts'

const dir = await mkdtemp(join(tmpdir(), 'nlt-cni-'))
t.teardown(() => rm(dir, { recursive: true, force: true }))

const started: string[] = []
const failing = new Map<RegExp, RunResult>()
const answer = async (argv: readonly string[], { input = '', netns }: RunOptions = {}): Promise<RunResult> => {
  const inside = netns === undefined ? '' : 'inside '
  started.push(`${inside}${argv[0]}`)
  const failure = [...failing].find(([words]) => words.test(`${inside}${argv.join(' ')} ${input}`))?.[1]
  // As long as a fast program: what comes meanwhile is to be grouped.
  await setTimeout(5)
  return failure ?? { exitCode: 0, stdout: argv.includes('-j') ? '[]' : '', stderr: '' }
}
const exec: Exec = {
  run: answer,
  try: answer,
  watch: (_, onLine) => {
    queueMicrotask(() => onLine('held'))
    return { ended: new Promise(() => undefined), stop: () => undefined }
  },
}
const sysctl = { read: async () => '1', write: async () => undefined }
const cni = createCni(
  { exec, link: createLink(exec), nft: createNft(exec), sysctl, clock: fakeClock(), log: silentLog, bootId: 'b' },
  dir,
)
const call = async (verb: string, id: string, more: object = {}) => {
  started.length = 0
  const env = { CNI_COMMAND: verb, CNI_CONTAINERID: id, CNI_NETNS: '/proc/self/ns/net', CNI_IFNAME: 'eth0' }
  const stdin = JSON.stringify({
    cniVersion: '1.0.0',
    name: 'pods',
    type: 'nodelet',
    subnets: ['10.0.0.0/24'],
    dataDir: dir,
    ...more,
  })
  const reply = await cni.call({ env, stdin })
  return { ...reply, started: started.toSorted() }
}
const port = { runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }] } }
const udp = { runtimeConfig: { portMappings: [{ hostPort: 53, containerPort: 53, protocol: 'udp' }] } }

t.test('the first ADD makes the base', async t => {
  t.match(await call('ADD', 'first'), { exitCode: 0, started: ['inside ip', 'ip', 'ip', 'ip', 'ip', 'nft'] })
})
for (const [name, id, more, add, del] of [
  ['a pod costs one process on the host and one inside, and one to end', 'plain', {}, ['inside ip', 'ip'], ['ip']],
  ['a hostPort costs one nft more', 'port', port, ['inside ip', 'ip', 'nft'], ['ip', 'nft']],
  [
    'a UDP hostPort one conntrack and one look at the addresses more',
    'udp',
    udp,
    ['conntrack', 'inside ip', 'ip', 'ip', 'nft'],
    ['conntrack', 'ip', 'nft'],
  ],
] as const)
  t.test(name, async t => {
    t.match(await call('ADD', id, more), { exitCode: 0, started: add })
    const ended = await call('DEL', id, more)
    // The removal proper follows by itself and may have begun.
    t.match(ended, { exitCode: 0 })
    t.same([...new Set(ended.started)], del)
  })

t.test('fifty ADDs at once share the processes on the host, and so do fifty DELs', async t => {
  const ids = Array.from({ length: 50 }, (_, i) => `many-${i}`)
  const stdin = JSON.stringify({ cniVersion: '1.0.0', name: 'pods', type: 'nodelet', subnets: ['10.0.0.0/24'], dataDir: dir })
  const callAll = async (verb: string) => {
    started.length = 0
    const env = (id: string) => ({ CNI_COMMAND: verb, CNI_CONTAINERID: id, CNI_NETNS: '/proc/self/ns/net', CNI_IFNAME: 'eth0' })
    const replies = await Promise.all(ids.map(id => cni.call({ env: env(id), stdin })))
    t.ok(replies.every(reply => reply.exitCode === 0))
    const shared = started.filter(program => program === 'ip').length
    t.ok(shared <= 25, `${verb}: ${shared} processes`)
  }
  await callAll('ADD')
  t.equal(started.filter(program => program === 'inside ip').length, 50)
  await callAll('DEL')
  // The removal proper.
  await setTimeout(50)
  await callAll('DEL')
  t.same(started, [], 'what is gone already costs nothing')
})

t.test('an ADD that fails inside the pod is undone: the pair removed, the address free', async t => {
  failing.set(/^inside/, { exitCode: 1, stdout: '', stderr: 'RTNETLINK answers: Operation not permitted\nCommand failed -:2\n' })
  const before = (await cni.attachments()).length
  const reply = await call('ADD', 'fails', port)
  failing.clear()
  t.match(JSON.parse(reply.stdout), {
    code: 100,
    msg: /ip addr add 10.0.0.\d+\/24 dev eth0: RTNETLINK answers: Operation not permitted/,
  })
  t.same(reply.started, ['inside ip', 'ip', 'ip', 'nft', 'nft'])
  t.equal((await cni.attachments()).length, before)
})

t.test('a DEL that the kernel refuses keeps the address, and succeeds later', async t => {
  await call('ADD', 'stays')
  failing.set(/nomaster down/, {
    exitCode: 1,
    stdout: '',
    stderr: 'RTNETLINK answers: Device or resource busy\nCommand failed -:1\n',
  })
  t.match(await call('DEL', 'stays'), { exitCode: 1 })
  failing.clear()
  t.ok((await cni.attachments()).some(it => it.containerId === 'stays'))
  t.match(await call('DEL', 'stays'), { exitCode: 0 })
  t.notOk((await cni.attachments()).some(it => it.containerId === 'stays'))
})

t.test('an nft that refuses a change gets the whole table', async t => {
  failing.set(/^nft -f - add element/, { exitCode: 1, stdout: '', stderr: 'No such file or directory' })
  t.match(await call('ADD', 'flushed', port), { exitCode: 0, started: ['inside ip', 'ip', 'nft', 'nft'] })
  failing.clear()
})

t.test('VERSION starts nothing', async t => t.match(await call('VERSION', ''), { exitCode: 0, started: [] }))
