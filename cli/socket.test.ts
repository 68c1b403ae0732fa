// Who is asked about the Services of a machine: the daemon, or a proxy that runs without it or beside it.
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { sendJson, toError } from '../host/answer.ts'
import { Fault } from '../host/fault.ts'
import { askRouter } from './socket.ts'

const folder = await mkdtemp(join(tmpdir(), 'nodelet-router-'))
t.teardown(() => rm(folder, { recursive: true }))

const listen = async (name: string, refusal?: Fault): Promise<string> => {
  const path = join(folder, name)
  const server = createServer((_, response) => {
    if (refusal === undefined) return sendJson(response, 200, { by: name })
    const { status, body } = toError(refusal)
    sendJson(response, status, body)
  })
  await new Promise<void>(resolve => server.listen(path, resolve))
  t.teardown(() => server.close())
  return path
}
const nobody = join(folder, 'nobody.sock')
const daemon = await listen('daemon')
const proxy = await listen('proxy')
const others = await listen('others', new Fault('unsupported', 'this daemon routes no Services: proxy.mode: disabled'))
const strict = await listen('strict', new Fault('not-found', 'no Service "web"'))
const ask = (sockets: readonly string[], named?: string) =>
  askRouter(named, it => it.json<{ by: string }>('/v1/diff'), sockets).then(
    ({ by }) => by,
    error => String(error.message),
  )

for (const [name, sockets, expected] of [
  ['the daemon, where it routes', [daemon, proxy], /^daemon$/],
  ['the proxy, where there is no daemon', [nobody, proxy], /^proxy$/],
  ['the proxy, where the daemon leaves Services to others', [others, proxy], /^proxy$/],
  ["the daemon's reason, where there is no proxy either", [others, nobody], /^this daemon routes no Services/],
  ['that nobody answers, and where a daemon would', [nobody, nobody], /^no nodelet daemon answers at .*nobody\.sock/],
  ['an answer that is a refusal is an answer', [strict, proxy], /^no Service "web"$/],
] as const)
  t.test(name, async t => t.match(await ask(sockets), expected))

t.test('who names a socket gets that one alone', async t => {
  t.match(await ask([daemon, proxy], nobody), /^no nodelet daemon answers/)
  t.equal(await ask([daemon], proxy), 'proxy')
})
