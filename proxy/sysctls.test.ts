import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { Exec } from '../host/exec.ts'
import { createLog, silentLog } from '../host/log.ts'
import { prepareSysctls } from './sysctls.ts'

const forwarding = 'net/ipv4/ip_forward'
const bridge = 'net/bridge/bridge-nf-call-iptables'

/** A /proc/sys with these settings. */
const kernel = async (root: string, settings: Readonly<Record<string, string>>) => {
  const put = async (path: string, value: string) => {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), `${value}\n`)
  }
  for (const [path, value] of Object.entries(settings)) await put(path, value)
  return { root, put, read: async (path: string) => (await readFile(join(root, path), 'utf8')).trim() }
}

const modules = (load: () => Promise<void>) => {
  const calls: string[] = []
  const run: Exec['run'] = async argv => {
    calls.push(argv.join(' '))
    await load()
    return { exitCode: 0, stdout: '', stderr: '' }
  }
  return { calls, exec: { run } }
}

t.test('settings are brought to what routing needs, those that stand are left alone', async t => {
  const { root, read } = await kernel(t.testdir(), { [forwarding]: '0', [bridge]: '1' })
  const { calls, exec } = modules(async () => undefined)
  await prepareSysctls({ exec, log: silentLog }, root)
  t.equal(await read(forwarding), '1')
  t.same(calls, [], 'the module is there')
})

t.test('a kernel that lacks the settings of bridges is made to load the module that has them', async t => {
  const { root, put, read } = await kernel(t.testdir(), { [forwarding]: '1' })
  const { calls, exec } = modules(() => put(bridge, '0'))
  await prepareSysctls({ exec, log: silentLog }, root)
  t.same(calls, ['modprobe br_netfilter'])
  t.equal(await read(bridge), '1')
})

t.test('one that has no such module is told of, and the other settings are made', async t => {
  const { root, read } = await kernel(t.testdir(), { [forwarding]: '0' })
  const { exec } = modules(() => Promise.reject(new Error('no such module')))
  const lines: string[] = []
  await prepareSysctls({ exec, log: createLog({ verbosity: 0, human: false, write: line => lines.push(line) }) }, root)
  t.match(lines.join(''), /"warn".*br_netfilter.*pods of one bridge may not reach each other/)
  t.equal(await read(forwarding), '1')
})

t.test('loopback is opened to routing only where node ports are to answer there', async t => {
  const loopback = 'net/ipv4/conf/all/route_localnet'
  const { root, read } = await kernel(t.testdir(), { [bridge]: '1', [loopback]: '0' })
  const { exec } = modules(async () => undefined)
  await prepareSysctls({ exec, log: silentLog }, root)
  t.equal(await read(loopback), '0')
  await prepareSysctls({ exec, log: silentLog, servesLoopback: true }, root)
  t.equal(await read(loopback), '1')
})
