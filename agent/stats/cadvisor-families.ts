// The families of /metrics/cadvisor from figures of cgroups, file systems and the machine. Pure.
// Labels are those that the kubelet gives: a pod's own cgroup has its namespace and name, its sandbox also an id and an image.

import type { Millis } from '../../host/clock.ts'
import type { Family } from '../../host/exposition.ts'
import * as of from './cadvisor-names.ts'
import { createFamilySet, type FamilySet, gauge } from './family-set.ts'

export interface CgroupLabels {
  /** Its path. */
  readonly id: string
  /** Id of the container or sandbox. */
  readonly name: string
  readonly image: string
  readonly namespace: string
  readonly pod: string
  readonly container: string
}

export interface DeviceFs {
  readonly device: string
  /** Undefined where there is no limit. */
  readonly bytes: number | undefined
  readonly usedBytes: number
  readonly inodes: number | undefined
  readonly inodesFree: number | undefined
}

export interface CgroupEntry extends of.CgroupFigures {
  readonly labels: CgroupLabels
  readonly at: Millis
  readonly startedAt: Millis
  readonly fileSystems: readonly DeviceFs[]
}

export interface MachineEntry {
  readonly labels: { readonly machine_id: string; readonly system_uuid: string; readonly boot_id: string }
  readonly cores: number
  readonly physicalCores: number
  readonly sockets: number
  readonly memoryBytes: number
  readonly swapBytes: number
  readonly kernel: string
  readonly os: string
  /** Of this agent: there is no cAdvisor whose version could be told. */
  readonly version: string
}

const addEntry = (set: FamilySet, entry: CgroupEntry, deviceName: (device: string) => string): void => {
  const { at, usage, detail } = entry
  const labels = { ...entry.labels }
  for (const [metric, figure] of of.specRows) set.add(metric, labels, figure(entry))
  set.add(of.startTime, labels, Math.floor(entry.startedAt / 1000))
  set.add(of.lastSeen, labels, Math.floor(at / 1000), at)
  for (const [metric, figure] of of.plainRows) set.add(metric, labels, figure(entry), at)
  if (detail.cpuQuotaUs !== undefined)
    for (const [metric, figure] of of.throttlingRows) set.add(metric, labels, figure(entry), at)
  set.add(of.cpuTotal, { ...labels, cpu: 'total' }, usage.cpu && usage.cpu.usageNs / 1e9, at)
  if (usage.memory !== undefined) {
    const { pageFaults, majorPageFaults } = usage.memory
    for (const [failure_type, faults] of [['pgfault', pageFaults] as const, ['pgmajfault', majorPageFaults] as const]) {
      set.add(of.memoryFailures, { ...labels, failure_type, scope: 'container' }, faults.own, at)
      set.add(of.memoryFailures, { ...labels, failure_type, scope: 'hierarchy' }, faults.all, at)
    }
  }
  set.add(of.openFilesLimit, { ...labels, ulimit: 'max_open_files' }, entry.processes.openFilesLimit, at)
  for (const it of entry.interfaces) {
    for (const [metric, figure] of of.interfaceRows) set.add(metric, { ...labels, interface: it.name }, figure(it), at)
  }
  for (const it of detail.devices) {
    const [major = '', minor = ''] = it.device.split(':')
    const device = deviceName(it.device)
    for (const [metric, figure] of of.deviceRows) set.add(metric, { ...labels, device }, figure(it), at)
    const operations = { Read: it.readBytes, Write: it.writeBytes }
    for (const [operation, bytes] of Object.entries(operations)) {
      set.add(of.deviceUsage, { ...labels, device, major, minor, operation }, bytes, at)
    }
  }
  for (const { device, ...fs } of entry.fileSystems) {
    set.add(of.fsLimit, { ...labels, device }, fs.bytes, at)
    set.add(of.fsUsage, { ...labels, device }, fs.usedBytes, at)
    set.add(of.fsInodes, { ...labels, device }, fs.inodes, at)
    set.add(of.fsInodesFree, { ...labels, device }, fs.inodesFree, at)
  }
}

const addMachine = (set: FamilySet, machine: MachineEntry): void => {
  const { labels } = machine
  set.add(gauge('machine_cpu_cores', 'Logical processors'), labels, machine.cores)
  set.add(gauge('machine_cpu_physical_cores', 'Cores'), labels, machine.physicalCores)
  set.add(gauge('machine_cpu_sockets', 'Processor sockets'), labels, machine.sockets)
  set.add(gauge('machine_memory_bytes', 'Memory'), labels, machine.memoryBytes)
  set.add(gauge('machine_swap_bytes', 'Swap'), labels, machine.swapBytes)
  set.add(gauge('machine_scrape_error', '1 when the machine could not be looked at, else 0'), {}, 0)
  const version = {
    kernelVersion: machine.kernel,
    osVersion: machine.os,
    dockerVersion: '',
    cadvisorVersion: machine.version,
    cadvisorRevision: '',
  }
  set.add(gauge('cadvisor_version_info', 'Always 1; versions in the labels'), version, 1)
}

export interface CadvisorInput {
  readonly entries: readonly CgroupEntry[]
  readonly machine: MachineEntry
  /** `8:0` to `/dev/sda`. */
  readonly deviceName: (device: string) => string
  /** The runtime did not tell what containers there are. */
  readonly failed: boolean
}

export const toCadvisorFamilies = ({ entries, machine, deviceName, failed }: CadvisorInput): readonly Family[] => {
  const set = createFamilySet()
  set.add(gauge('container_scrape_error', '1 when containers could not be looked at, else 0'), {}, failed ? 1 : 0)
  addMachine(set, machine)
  for (const entry of entries) addEntry(set, entry, deviceName)
  return set.families()
}
