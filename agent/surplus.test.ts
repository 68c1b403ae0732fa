import t from 'tap'
import { exited, running, sandbox, seen } from './seen.fake.ts'
import { surplus } from './surplus.ts'

const second = sandbox({ id: 'sandbox-1', attempt: 1 })
const dead = sandbox({ ready: false })

for (const [name, given, expected] of [
  [
    'the one ended attempt before the running one stays',
    seen([running('a', { id: 'a-1' }), exited('a', 1)]),
    { containers: [], sandboxes: [] },
  ],
  [
    'older ended attempts go',
    seen([running('a', { id: 'a-2' }), exited('a', 1, { id: 'a-1' }), exited('a', 1)]),
    { containers: ['a-0'], sandboxes: [] },
  ],
  ['attempts are counted for each container', seen([exited('a', 1), exited('b', 1)]), { containers: [], sandboxes: [] }],
  [
    'an old sandbox stays while it holds a container that stays',
    seen([running('a', { id: 'a-1', sandboxId: 'sandbox-1' }), exited('a', 1)], [second, dead]),
    { containers: [], sandboxes: [] },
  ],
  [
    'an old sandbox without containers goes',
    seen([running('a', { id: 'a-1', sandboxId: 'sandbox-1' })], [second, dead]),
    { containers: [], sandboxes: ['sandbox-0'] },
  ],
  ['the newest sandbox stays, dead or not', seen([], [dead]), { containers: [], sandboxes: [] }],
] as const)
  t.test(name, async t => void t.same(surplus(given, 1), expected))
