import t from 'tap'
import { refuseMachine } from './self.ts'

const modern = { swapBytes: 0, version: 2 } as const
const swapping = { swapBytes: 1024 ** 3, version: 2 } as const
const old = { swapBytes: 0, version: 1 } as const

for (const [name, { swapBytes, version }, wish, wrong] of [
  ['swap is taken as it is', swapping, {}, undefined],
  ['swap that is not wanted', swapping, { failSwapOn: true }, /^failSwapOn: true: swap is on: .* or want false$/],
  ['no swap where none is wanted', modern, { failSwapOn: true }, undefined],
  ['cgroup version 1 is taken as it is', old, {}, undefined],
  [
    'cgroup version 1 that is not wanted',
    old,
    { failCgroupV1: true },
    /^failCgroupV1: true: this machine has cgroup version 1: /,
  ],
  ['version 2 where 1 is not wanted', modern, { failCgroupV1: true }, undefined],
] as const)
  t.test(`a machine as a node: ${name}`, async t => {
    const ask = () => refuseMachine({ failSwapOn: false, failCgroupV1: false, ...wish }, { swapBytes }, version)
    if (wrong === undefined) t.doesNotThrow(ask)
    else t.throws(ask, { code: 'bad-config', message: wrong })
  })
