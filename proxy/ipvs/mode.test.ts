// What a host is told that cannot run the IPVS mode.
import t from 'tap'
import { systemClock as clock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import { isFault } from '../../host/fault.ts'
import { silentLog } from '../../host/log.ts'
import { createMachine, type Machine } from './machine.fake.ts'
import { openIpvs } from './mode.ts'
import { defaultIpvsSettings } from './settings.ts'

const newMachine = () => createMachine(['192.168.50.1'])

t.test('a host that lacks something is told what, and which mode would work', async t => {
  const refused = async (machine: Machine, scheduler = '') => {
    const deps = { exec: machine.exec as Exec, clock, log: silentLog, ipvs: { ...defaultIpvsSettings, scheduler } }
    const others = { nftables: async () => undefined, iptables: async () => Promise.reject(new Error('not here')) }
    const error = await openIpvs({ ...deps, others }).then(
      () => undefined,
      error => error,
    )
    t.ok(isFault(error, 'unsupported'))
    return String(error.message)
  }
  const without = newMachine()
  without.absent.add('ipvsadm')
  t.match(await refused(without), /the IPVS mode lacks IPVS with the program ipvsadm \(.*\); would work here: mode nftables$/)
  const kernel = newMachine()
  kernel.refuse('ipvsadm', 1)
  t.match(await refused(kernel), /IPVS with the program ipvsadm \(ipvsadm: told to refuse\)/)
  const sets = newMachine()
  sets.absent.add('ipset')
  t.match(await refused(sets), /lacks ipset and iptables with sets \(ipset: not installed\)/)
})
