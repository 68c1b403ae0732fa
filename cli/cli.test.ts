// The commands against a daemon's socket whose answers the test sets; agent/server has the daemon's side, test/cri both.
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Output } from './command.ts'
import { run as diff } from './diff.ts'
import { run as exec } from './exec.ts'
import { run as get } from './get.ts'
import { run as logs, toSeconds } from './logs.ts'
import { run as trace } from './trace.ts'
import { run as why } from './why.ts'

const folder = await mkdtemp(join(tmpdir(), 'nodelet-cli-'))
t.teardown(() => rm(folder, { recursive: true }))

const pod = (name: string, namespace: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace },
  spec: { containers: [{ name: 'c', image: 'i' }] },
  status: { phase: 'Running', containerStatuses: [{ name: 'c', ready: true, restartCount: 0, state: { running: {} } }] },
})

const answers: Record<string, string | object> = {
  '/v1/pods': { items: [pod('b', 'default'), pod('a', 'default'), pod('dns', 'kube-system')] },
  '/v1/pods/default/a': pod('a', 'default'),
  '/v1/pods/kube-system/dns': pod('dns', 'kube-system'),
  '/v1/services': { items: [] },
  '/v1/problems': { items: [{ since: '2026-01-01T00:00:00Z', code: 'bad-manifest', object: 'file x.yaml', message: 'no name' }] },
  '/v1/pods/default/a/timeline': 'default/a: Running\n',
  '/v1/pods/default/a/log?container=c&follow=true&tailLines=5&sinceSeconds=90': 'hello\n',
  '/v1/pods/default/a/log?': 'all\n',
  '/v1/trace?target=web&namespace=default': '{"target":"web"}',
  '/v1/trace?target=10.0.0.1%3A80&namespace=prod&from=a&protocol=udp': 'the way\n',
}

const answer = (request: IncomingMessage, response: ServerResponse) => {
  const body = answers[request.url ?? '']
  if (body === undefined) return response.writeHead(404).end('{"code":"not-found","message":"pods \\"x\\" not found"}')
  response.end(typeof body === 'string' ? body : JSON.stringify(body))
}
const socket = join(folder, 'daemon.sock')
const server = createServer(answer)
await new Promise<void>(resolve => server.listen(socket, resolve))
t.teardown(() => server.close())

const call = async (command: (argv: readonly string[], output: Output) => Promise<number>, ...argv: string[]) => {
  let [out, err] = ['', '']
  const output: Output = {
    out: text => {
      out += typeof text === 'string' ? text : Buffer.from(text)
      return undefined
    },
    err: text => {
      err += text
    },
  }
  const code = await command(['--socket', socket, ...argv], output)
  return { code, out, err }
}
const done = (out: string) => ({ code: 0, out, err: '' })

t.test('get prints a table of its namespace, sorted', async t => {
  const table = 'NAME   READY   STATUS    RESTARTS   AGE\na      1/1     Running   0          <unknown>\n'
  t.same(await call(get, 'pods'), done(`${table}b      1/1     Running   0          <unknown>\n`))
  t.same(await call(get, 'pod', 'a'), done(table))
  t.same(await call(get, 'pod/a'), done(table))
  t.match((await call(get, 'po', '-A')).out, /^NAMESPACE +NAME .*\ndefault +a .*\ndefault +b .*\nkube-system +dns /)
  t.match(
    (await call(get, 'pods', '-o', 'wide', '-n', 'kube-system')).out,
    /IP +NODE +READINESS GATES\ndns .* <none> +<none> +<none>\n$/,
  )
})

t.test('and JSON, YAML and names', async t => {
  t.same(JSON.parse((await call(get, 'pods', 'a', '-o', 'json')).out), pod('a', 'default'))
  t.match(JSON.parse((await call(get, 'pods', '-o', 'json')).out), { kind: 'List', items: [{}, {}] })
  t.match((await call(get, 'pods', 'a', '-o', 'yaml')).out, /^apiVersion: v1\nkind: Pod\nmetadata:\n {2}name: a\n/)
  t.same(await call(get, 'pods', '-o', 'name'), done('pod/b\npod/a\n'))
})

t.test('what is not there is said so', async t => {
  t.same(await call(get, 'svc'), { code: 0, out: '', err: 'No resources found in default namespace.\n' })
  t.same(await call(get, 'pods', 'x'), { code: 1, out: '', err: 'error: pods "x" not found\n' })
  t.match(await call(get, 'svc', 'x'), { code: 1, err: 'error: services "x" not found in namespace "default"; there is none\n' })
})

t.test('problems are listed', async t => {
  t.match((await call(get, 'problems')).out, /^AGE +CODE +OBJECT +MESSAGE\n\S+ +bad-manifest +file x\.yaml +no name\n$/)
})

t.test('logs and why ask for what was asked', async t => {
  t.same(await call(logs, '-f', '--tail=5', '--since', '1m30s', 'a', '-c', 'c'), done('hello\n'))
  t.same(await call(logs, 'pod/a', '--tail=-1'), done('all\n'))
  t.same(await call(why, 'a'), done('default/a: Running\n'))
  t.same(await call(why, 'default/a', '-n', 'other'), done('default/a: Running\n'))
})

t.test('durations are those of Go', async t => {
  t.equal(toSeconds('1h30m'), 5400)
  t.equal(toSeconds('1.5s'), 1.5)
  for (const wrong of ['', '5', '5 m', 'm', '5d']) t.throws(() => toSeconds(wrong), /is not a duration/)
})

for (const [name, command, argv, message] of [
  ['an unknown option', get, ['pods', '--colour'], /^error: Unknown option '--colour'\nusage: nodelet get /],
  ['an unknown kind', get, ['cows'], /^error: there is nothing called "cows" to get\n/],
  ['no kind', get, [], /^error: say what to get\n/],
  ['an unknown format', get, ['pods', '-o', 'xml'], /^error: unknown output format "xml"/],
  ['no pod', logs, [], /^error: name a pod\nusage: nodelet logs /],
  ['a wrong duration', logs, ['a', '--since', '5'], /^error: "5" is not a duration/],
  ['two pods', why, ['a', 'b'], /^error: name one pod\n/],
  ['no command', exec, ['a'], /^error: give a command, after --\n/],
] as const) {
  t.test(`${name} is a usage error`, async t => {
    const { code, err } = await call(command, ...argv)
    t.equal(code, 2)
    t.match(err, message)
  })
}

t.test('help is asked for and given', async t => t.match(await call(get, '--help'), { code: 0, out: /^usage: nodelet get / }))

t.test('without a daemon it says how to start one', async t => {
  const { code, err } = await call(get, 'pods', '--socket', join(folder, 'none.sock'))
  t.equal(code, 1)
  t.match(err, /^error: no nodelet daemon answers at .*none\.sock: start one with `sudo nodelet agent`/)
})

t.test('trace', async t => {
  t.same(await call(trace, '10.0.0.1:80', '--from', 'a', '--proto', 'udp', '-n', 'prod'), done('the way\n'))
  t.same(await call(trace, 'web', '-o', 'json'), done('{\n    "target": "web"\n}\n'))
  t.match(await call(trace), { code: 2, err: /name one Service/ })
  t.match(await call(trace, 'web', '--proto', 'icmp'), { code: 2, err: /one of tcp, udp, sctp is wanted/ })
  t.match(await call(trace, 'web', '-o', 'yaml'), { code: 2, err: /json is wanted/ })
  t.match(await call(trace, 'wbe'), { code: 1, err: /not found/ })
})

const place = 'table ip nodelet-proxy'
const differing = {
  same: false,
  mode: 'nftables',
  compared: 9,
  differences: [
    { place, kind: 'missing', what: 'element service-ips { 10.96.0.1 . tcp . 443 }', wanted: 'goto tcp-pick-1' },
    { place, kind: 'foreign', what: 'rule in chain services', found: 'drop' },
    { place, kind: 'different', what: 'element endpoints-tcp { k }', wanted: '10.0.0.1 . 80', found: '10.0.0.2 . 80' },
    { place, kind: 'missing', what: place },
  ],
}
t.test('diff', async t => {
  const listing = 'Listing what the kernel holds: this takes seconds when there are many Services.\n'
  answers['/v1/diff'] = { same: true, mode: 'nftables', compared: 7, differences: [] }
  t.same(await call(diff), { code: 0, out: 'The kernel holds what it should: 7 pieces compared (nftables).\n', err: listing })
  answers['/v1/diff'] = differing
  t.same(await call(diff), {
    code: 1,
    err: listing,
    out: [
      '- missing   table ip nodelet-proxy: element service-ips { 10.96.0.1 . tcp . 443 }',
      '    wanted  goto tcp-pick-1',
      '+ foreign   table ip nodelet-proxy: rule in chain services',
      '    found   drop',
      '~ different table ip nodelet-proxy: element endpoints-tcp { k }',
      '    wanted  10.0.0.1 . 80',
      '    found   10.0.0.2 . 80',
      '- missing   table ip nodelet-proxy',
      '4 differences, 9 pieces compared (nftables).',
      '',
    ].join('\n'),
  })
  t.same(await call(diff, '-o', 'json'), { code: 1, out: `${JSON.stringify(differing, null, 4)}\n`, err: '' })
  t.match(await call(diff, 'web'), { code: 2, err: /compares everything/ })
  answers['/v1/diff'] = { ...differing, differences: Array.from({ length: 150 }, () => differing.differences[3]) }
  t.match((await call(diff)).out, /\nand 50 more: -o json has all of them\n150 differences/)
})
