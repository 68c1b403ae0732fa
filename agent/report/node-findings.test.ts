// What is found out about a node when the runtime answers, and what is kept of it when it does not.
import { tmpdir } from 'node:os'
import t from 'tap'
import type { Cri } from '../../api/cri/cri.ts'
import { fakeClock } from '../../host/clock.fake.ts'
import { Fault } from '../../host/fault.ts'
import type { NodeObject } from '../node.ts'
import { createFindings, type FindingsDeps } from './node-findings.ts'

const setUp = () => {
  const clock = fakeClock()
  const state = { isAway: false, asked: 0 }
  const answer = <T>(value: T): Promise<T> =>
    state.isAway ? Promise.reject(new Fault('runtime-away', 'connection refused')) : Promise.resolve(value)
  const conditions = ['RuntimeReady', 'NetworkReady'].map(type => ({ type, status: true, reason: '', message: '' }))
  const runtime = {
    version: () => answer({ version: '', runtimeName: 'containerd', runtimeVersion: '1.6.20', runtimeApiVersion: 'v1' }),
    status: () => answer({ status: { conditions }, info: {}, runtimeHandlers: [], features: null }),
    listImages: () => {
      state.asked += 1
      return answer([{ id: 'a', size: 1, repoDigests: [], repoTags: ['a:1'] }])
    },
  } as unknown as Pick<Cri, 'version' | 'status' | 'listImages'>
  const findings = createFindings({
    ...{ name: 'n1', machine: {} as FindingsDeps['machine'], settings: {} as FindingsDeps['settings'], labels: {} },
    ...{ rootDir: tmpdir(), version: 'v1', port: 10250, maxImages: 50, runtime, clock },
    addresses: () => ['10.0.0.1'],
    volumesInUse: () => [],
    pressure: () => ({ memoryPressure: false, diskPressure: false, pidPressure: false }),
    troubles: node => (node === undefined ? ['no podCIDR'] : []),
  })
  return { clock, state, findings }
}
const node = {
  metadata: { name: 'n1' },
  spec: {},
  status: { nodeInfo: { containerRuntimeVersion: 'containerd://1.5' }, images: [{ names: ['old'], sizeBytes: 9 }] },
} as unknown as NodeObject

t.test('a runtime that is well', async t => {
  const { findings } = setUp()
  t.match(await findings(node), {
    runtime: 'containerd://1.6.20',
    images: [{ names: ['a:1'], sizeBytes: 1 }],
    addresses: ['10.0.0.1'],
    health: { troubles: [] },
  })
  t.match(await findings(undefined), { health: { troubles: ['no podCIDR'] } })
})

t.test('images are listed every half minute, however often the node is looked at', async t => {
  const { clock, state, findings } = setUp()
  for (let i = 0; i < 5; i++) await findings(node)
  t.equal(state.asked, 1)
  await clock.advance(31_000)
  await findings(node)
  t.equal(state.asked, 2)
})

t.test('a runtime that is away is a finding; what was known stays', async t => {
  const { clock, state, findings } = setUp()
  state.isAway = true
  t.match(await findings(node), {
    runtime: 'containerd://1.5',
    images: [{ names: ['old'] }],
    health: { troubles: [/^container runtime is down: connection refused/] },
  })
  t.equal((await findings(undefined)).runtime, 'containerd://Unknown')
  state.isAway = false
  await findings(node)
  state.isAway = true
  await clock.advance(31_000)
  t.match(await findings(node), { images: [{ names: ['a:1'] }] })
})
