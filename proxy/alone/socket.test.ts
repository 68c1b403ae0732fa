// What the socket of a proxy that runs alone answers: real HTTP over a real unix socket in a folder of its own.
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { TraceQuery } from '../../api/trace-query.ts'
import { Fault } from '../../host/fault.ts'
import { createLog } from '../../host/log.ts'
import { openProxySocket } from './socket.ts'

const folder = await mkdtemp(join(tmpdir(), 'nodelet-proxy-socket-'))
t.teardown(() => rm(folder, { recursive: true }))

const lines: string[] = []
const log = createLog({ verbosity: 0, human: false, write: line => lines.push(line) })
const proxy = {
  trace: async (query: TraceQuery) => ({ text: `the way to ${query.target}\n`, body: query as never }),
  diff: async () => ({ same: true, mode: 'nftables', compared: 7, differences: [] }),
}

const ask = async (socketPath: string, path: string, headers = {}) => {
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    request({ socketPath, path, headers, agent: false }, resolve).on('error', reject).end(),
  )
  return { status: response.statusCode, body: await text(response) }
}

t.test('it answers trace and diff, in words and as values, to root alone', async t => {
  const path = join(folder, 'new', 'proxy.sock')
  const socket = await openProxySocket({ path, proxy, log })
  t.equal((await stat(path)).mode & 0o777, 0o600)
  const words = await ask(path, '/v1/trace?target=web', { accept: 'text/plain' })
  t.same(words, { status: 200, body: 'the way to web\n' })
  const values = await ask(path, '/v1/trace?target=web&from=10.244.1.10&protocol=udp')
  t.match(JSON.parse(values.body), { target: 'web', namespace: 'default', protocol: 'UDP', from: { ips: ['10.244.1.10'] } })
  t.match(JSON.parse((await ask(path, '/v1/diff')).body), { same: true, compared: 7 })
  for (const [asked, status, said] of [
    ['/v1/trace?target=web&from=client-1', 400, /knows no pods: name the caller by its address/],
    ['/v1/trace', 400, /target is missing/],
    ['/v1/pods', 404, /answers trace and diff only/],
  ] as const) {
    const refusal = await ask(path, asked)
    t.equal(refusal.status, status, asked)
    t.match((JSON.parse(refusal.body) as { message: string }).message, said)
  }
  await socket.close()
  await t.rejects(stat(path), { code: 'ENOENT' }, 'and is gone at the end')
})

t.test('what the proxy refuses is told with its code', async t => {
  const path = join(folder, 'refuses.sock')
  const busy = { ...proxy, diff: () => Promise.reject(new Fault('kernel-refused', 'Services of IPv4 are being written')) }
  const socket = await openProxySocket({ path, proxy: busy, log })
  const { status, body } = await ask(path, '/v1/diff')
  t.equal(status, 500)
  t.match(JSON.parse(body), { code: 'kernel-refused', message: 'Services of IPv4 are being written' })
  await socket.close()
})

t.test('a socket that cannot be had is said in one line, and the proxy goes on', async t => {
  const path = join(folder, 'a-file')
  await writeFile(path, '')
  lines.length = 0
  const socket = await openProxySocket({ path, proxy, log })
  t.match(lines, [/a-file is there already and is not a socket/])
  await socket.close()
  const first = await openProxySocket({ path: join(folder, 'twice.sock'), proxy, log })
  lines.length = 0
  const second = await openProxySocket({ path: join(folder, 'twice.sock'), proxy, log })
  t.match(lines, [/another nodelet daemon answers/])
  await second.close()
  t.equal((await ask(join(folder, 'twice.sock'), '/v1/diff')).status, 200, 'and the first is asked as before')
  await first.close()
  lines.length = 0
  await (await openProxySocket({ path: '', proxy, log })).close()
  t.same(lines, [], 'none is asked for')
})
