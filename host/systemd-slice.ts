// Slices that systemd knows of: started, changed and stopped through busctl. Only for the systemd cgroup driver, where
// systemd owns the tree and would take back what was made behind its back.
// Follows org.freedesktop.systemd1(5) and systemd.slice(5).
import type { CgroupLimits, SliceProperty } from './cgroup-files.ts'
import { toSliceProperties } from './cgroup-files.ts'
import type { Exec } from './exec.ts'
import { Fault } from './fault.ts'

export interface Slices {
  /** Starts a slice with its limits; nothing happens when it is there. */
  start(unit: string, limits: CgroupLimits): Promise<void>
  /** Changes the limits until the slice is stopped. */
  set(unit: string, limits: CgroupLimits): Promise<void>
  /** Stops a slice; nothing happens when it is gone. */
  stop(unit: string): Promise<void>
}

const service = 'org.freedesktop.systemd1'
const call = (method: string, signature: string, args: readonly string[]): readonly string[] => [
  'busctl',
  'call',
  '--system',
  '--quiet',
  service,
  '/org/freedesktop/systemd1',
  `${service}.Manager`,
  method,
  signature,
  ...args,
]

const list = (properties: readonly SliceProperty[]): readonly string[] => [String(properties.length), ...properties.flat()]

const accounting = (version: 1 | 2): readonly SliceProperty[] => [
  ['Description', 's', 'Pods of nodelet'],
  ['DefaultDependencies', 'b', 'false'],
  ['CPUAccounting', 'b', 'true'],
  ['MemoryAccounting', 'b', 'true'],
  [version === 2 ? 'IOAccounting' : 'BlockIOAccounting', 'b', 'true'],
  ['TasksAccounting', 'b', 'true'],
]

export const createSlices = ({ exec, version }: { readonly exec: Exec; readonly version: 1 | 2 }): Slices => {
  const ask = async (argv: readonly string[], fine: RegExp) => {
    const { exitCode, stderr } = await exec.try(argv)
    if (exitCode === 0 || fine.test(stderr)) return
    throw new Fault('kernel-refused', `systemd refused ${argv[7]} of ${argv[9]}: ${stderr.trim()}`)
  }
  return {
    start: (unit, limits) => {
      const properties = [...accounting(version), ...toSliceProperties(limits, version)]
      const args = [unit, 'replace', ...list(properties), '0']
      return ask(call('StartTransientUnit', 'ssa(sv)a(sa(sv))', args), /already (loaded|exists)|fragment file/i)
    },
    set: async (unit, limits) => {
      const properties = toSliceProperties(limits, version)
      if (properties.length === 0) return
      await ask(call('SetUnitProperties', 'sba(sv)', [unit, 'true', ...list(properties)]), /^$/)
    },
    stop: unit => ask(call('StopUnit', 'ss', [unit, 'replace']), /not loaded|not found/i),
  }
}
