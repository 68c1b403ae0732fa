// How containerd's events read: the payload's type decides, whatever its topic.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import protobuf from 'protobufjs'
import t from 'tap'
import { fakeClock } from '../../host/clock.fake.ts'
import { createRpc } from '../rpc.ts'
import { readEnvelope } from './events.ts'

const schema = JSON.parse(await readFile(join(import.meta.dirname, 'events.gen.json'), 'utf8'))
const root = protobuf.Root.fromJSON(schema)
const rpc = createRpc({ endpoint: '/run/none.sock', schema, clock: fakeClock() })
t.teardown(rpc.close)

const envelope = (name: string, payload: object) => {
  const type = root.lookupType(`containerd.services.events.v1.${name}`)
  return {
    topic: '/tasks/x',
    event: { typeUrl: `containerd.events.${name}`, value: type.encode(type.fromObject(payload)).finish() },
  }
}
const exitedAt = { seconds: 1_700_000_000, nanos: 123_999_999 }

for (const [name, type, payload, expected] of [
  ['a start', 'TaskStart', { containerId: 'c', pid: 7 }, { type: 'start', containerId: 'c', pid: 7 }],
  [
    "the exit of a container's own process",
    'TaskExit',
    { containerId: 'c', id: 'c', pid: 7, exitStatus: 3, exitedAt },
    { type: 'exit', containerId: 'c', id: 'c', pid: 7, exitStatus: 3, exitedAt: 1_700_000_000_123 },
  ],
  [
    'the exit of an executed process has its own id',
    'TaskExit',
    { containerId: 'c', id: 'probe', pid: 8 },
    { containerId: 'c', id: 'probe' },
  ],
  ['a delete without id is of the container itself', 'TaskDelete', { containerId: 'c', pid: 7 }, { type: 'delete', id: 'c' }],
  ['out of memory', 'TaskOOM', { containerId: 'c' }, { type: 'oom', containerId: 'c' }],
  ['a pause', 'TaskPaused', { containerId: 'c' }, { type: 'paused', containerId: 'c' }],
] as const) {
  t.test(name, async t => t.match(readEnvelope(rpc, envelope(type, payload)), expected))
}

t.test('a type URL with a host in front is the same type', async t => {
  const { topic, event } = envelope('TaskOOM', { containerId: 'c' })
  t.match(readEnvelope(rpc, { topic, event: { ...event, typeUrl: `type.googleapis.com/${event.typeUrl}` } }), { type: 'oom' })
})

t.test('an executed process that begins, an image, or an empty envelope are no task events', async t => {
  t.equal(readEnvelope(rpc, envelope('TaskExecStarted', { containerId: 'c', execId: 'e' })), undefined)
  t.equal(
    readEnvelope(rpc, { topic: '/images/create', event: { typeUrl: 'containerd.events.ImageCreate', value: Buffer.alloc(0) } }),
    undefined,
  )
  t.equal(readEnvelope(rpc, { topic: '/tasks/exit', event: null }), undefined)
})
