// The order in which the weights of QoS classes are written. What a kernel makes of cgroups is test/kernel/cgroup.itest.ts's.
import t from 'tap'
import type { Cgroups } from '../host/cgroup.ts'
import { silentLog } from '../host/log.ts'
import { podOf } from '../test/support/manifests.ts'
import { createPodCgroups } from './cgroups.ts'

t.test('weights of QoS classes are those of the latest call, however long an earlier one takes', async t => {
  const weights = new Map<string, number | undefined>()
  const first = Promise.withResolvers<void>()
  const waiting = [first.promise]
  const cgroup: Partial<Cgroups> = {
    driver: 'systemd',
    set: async (name, { cpuShares }) => {
      await waiting.shift()
      weights.set(name.join('/'), cpuShares)
    },
  }
  const cgroups = createPodCgroups({
    ...{ cgroup: cgroup as Cgroups, cgroupRoot: '/', cgroupsPerQOS: true, log: silentLog },
    context: {
      cgroupVersion: 2,
      hugePageSizes: [],
      cpuCfsQuota: true,
      cpuCfsQuotaPeriodUs: 100_000,
      podPidsLimit: -1,
    },
  })
  const asking = (cpu: string) => podOf('p', { name: 'c', image: 'i', resources: { requests: { cpu } } })
  const calls = [cgroups.updateQos([asking('1')]), cgroups.updateQos([asking('1'), asking('1')])]
  setImmediate(first.resolve)
  await Promise.all(calls)
  t.equal(weights.get('kubepods/burstable'), 2048)
})
