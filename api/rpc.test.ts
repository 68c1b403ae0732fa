// What a gRPC failure means to the rest of the program, which endpoints are accepted, and that the compiled schemas are those
// of the .proto files. Calls against a real server are in test/cri/cri.itest.ts.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { fakeClock } from '../host/clock.fake.ts'
import { compileProto, protos } from './compile-protos.ts'
import { createRpc, toFault } from './rpc.ts'

const schema = JSON.parse(await readFile(join(import.meta.dirname, 'containerd/events.gen.json'), 'utf8')) as object
const grpcError = (code: number, details: string) => Object.assign(new Error(`${code} X: ${details}`), { code, details })

for (const [name, code, details, expected] of [
  ['no connection is a runtime that is away', 14, 'No connection established', { code: 'runtime-away', retry: 'backoff' }],
  [
    'and says what the socket said',
    14,
    'No connection established. Last error: Error: connect ECONNREFUSED /run/c.sock. Resolution note: ',
    { code: 'runtime-away', message: 'no connection to the container runtime: connect ECONNREFUSED /run/c.sock' },
  ],
  ['a deadline that passed is a timeout', 4, 'Deadline exceeded', { code: 'runtime-timeout', retry: 'backoff' }],
  ['not found is not worth trying again', 5, 'no such container', { code: 'not-found', retry: 'never' }],
  ['already there is not worth trying again', 6, 'exists', { code: 'already-exists', retry: 'never' }],
  ['an unknown method is not supported', 12, 'unknown method', { code: 'unsupported', retry: 'never' }],
  [
    'anything else is refused, in the words of the runtime',
    2,
    'runc create failed',
    { code: 'runtime-refused', message: 'runc create failed' },
  ],
  ["the CRI's own name of an error is kept as the reason", 2, 'RegistryUnavailable: no route', { reason: 'RegistryUnavailable' }],
] as const) {
  t.test(name, async t => t.match(toFault(grpcError(code, details)), expected))
}

for (const [endpoint, accepted] of [
  ['unix:///run/containerd/containerd.sock', true],
  ['unix:/run/crio/crio.sock', true],
  ['/run/containerd/containerd.sock', true],
  ['tcp://127.0.0.1:1234', false],
  ['npipe:////./pipe/x', false],
  ['', false],
] as const) {
  t.test(`endpoint "${endpoint}" is ${accepted ? 'taken' : 'refused by name'}`, async t => {
    const create = () => createRpc({ endpoint, schema, clock: fakeClock() })
    if (accepted) create().close()
    else t.throws(create, { code: 'bad-config', message: /want unix:/ })
    t.pass()
  })
}

t.test('nobody listening is a runtime that is away, within moments', async t => {
  const rpc = createRpc({ endpoint: join(t.testdir(), 'none.sock'), schema, clock: fakeClock(Date.now()) })
  t.teardown(rpc.close)
  await t.rejects(rpc.call('containerd.services.events.v1.Events/Publish', {}), { code: 'runtime-away' })
  await t.rejects(rpc.call('containerd.services.events.v1.Events/Nothing', {}), { code: 'unsupported' })
  const gone = AbortSignal.abort(new Error('no longer wanted'))
  await t.rejects(rpc.call('containerd.services.events.v1.Events/Publish', {}, { signal: gone }), { message: 'no longer wanted' })
})

for (const [source, result] of protos) {
  t.test(`${result} is compiled from ${source} as it is now`, async t => {
    const compiled = JSON.parse(await readFile(join(import.meta.dirname, result), 'utf8'))
    t.strictSame(compiled, JSON.parse(JSON.stringify(await compileProto(source))), 'node api/compile-protos.ts was not run')
  })
}
