// How the CRI's own events read. The stream itself is tried against a containerd that serves it, in test/cri/cri.itest.ts.
import t from 'tap'
import { readContainerEvent } from './events.ts'
import type { ContainerEventResponse, ContainerStatus } from './types.ts'

const status = (more: Partial<ContainerStatus>) => ({ id: 'c', state: 'CONTAINER_EXITED', ...more }) as ContainerStatus
const event = (more: Partial<ContainerEventResponse>): ContainerEventResponse => ({
  ...{
    containerId: 'c',
    containerEventType: 'CONTAINER_STOPPED_EVENT',
    createdAt: 5e9,
    podSandboxStatus: null,
    containersStatuses: [],
  },
  ...more,
})

for (const [name, given, expected] of [
  ['a start', event({ containerEventType: 'CONTAINER_STARTED_EVENT' }), { type: 'start', containerId: 'c', pid: 0 }],
  ['a creation', event({ containerEventType: 'CONTAINER_CREATED_EVENT' }), { type: 'create', containerId: 'c', pid: 0 }],
  [
    'a stop takes code and time from the status that comes with it',
    event({ containersStatuses: [status({ id: 'other', exitCode: 1 }), status({ exitCode: 3, finishedAt: 4e9 })] }),
    { type: 'exit', containerId: 'c', id: 'c', pid: 0, exitStatus: 3, exitedAt: 4000 },
  ],
  ['a stop without a status says when, not how', event({}), { type: 'exit', exitStatus: undefined, exitedAt: 5000 }],
  [
    'a status that still says running is no exit status',
    event({ containersStatuses: [status({ state: 'CONTAINER_RUNNING', exitCode: 0 })] }),
    { exitStatus: undefined },
  ],
  ['a removal', event({ containerEventType: 'CONTAINER_DELETED_EVENT' }), { type: 'delete', id: 'c' }],
] as const) {
  t.test(name, async t => t.match(readContainerEvent(given), expected))
}
