// What this node is and has room for: its addresses, its allocatable resources, whom it admits, and the Node object that shows it.
// Reads the machine once at the start and what changes (addresses, disk, memory) when it is asked.
import { badConfig } from '../api/config/document.ts'
import type { KubeObject, ResourceList } from '../api/meta.ts'
import { formatQuantity } from '../api/quantity.ts'
import type { Pod } from '../api/types.ts'
import type { Clock } from '../host/clock.ts'
import { fileSystemSize, type Machine } from '../host/machine.ts'
import { type Admission, admit } from './admit.ts'
import type { AgentConfig } from './config/agent-config.ts'
import { refusedUnder } from './eviction/admission.ts'
import { createNodePressure, type NodePressure, toHealth } from './eviction/node-pressure.ts'
import {
  allocatableOf,
  capacityOf,
  defaultLabels,
  enforcedOf,
  type NodeCondition,
  type NodeRuntimeHandler,
  type NodeSettings,
  type NodeStatus,
  toNodeObject,
} from './node.ts'
import type { Amounts } from './qos.ts'
import type { ResourceContext } from './resources.ts'
import { createNodeClosing, type NodeClosing } from './shutdown/closing.ts'
import { rfc3339 } from './status.ts'
import { toSysctlAllowList } from './sysctls.ts'

export interface SelfDeps {
  readonly name: string
  readonly machine: Machine
  readonly rootDir: string
  readonly settings: NodeSettings
  readonly allowedUnsafeSysctls: readonly string[]
  /** Of the configuration. */
  readonly labels: Readonly<Record<string, string>>
  /** Those that the Node has now, whoever set them; undefined as long as nobody knows. */
  readonly nodeLabels?: () => Readonly<Record<string, string>> | undefined
  readonly addresses: () => readonly string[]
  readonly version: string
  readonly clock: Clock
}

/** What the runtime said of itself. */
export interface RuntimeFacts {
  readonly version: string
  /** What keeps it from running pods; empty when it is well. */
  readonly troubles: readonly string[]
  readonly handlers?: readonly NodeRuntimeHandler[]
  readonly features?: NodeStatus['features']
}

export interface Self {
  readonly allocatable: ResourceList
  /** What all pods together may use, for the cgroup that holds them. */
  readonly enforced: { readonly milliCpu: number; readonly memoryBytes: number }
  readonly addresses: () => readonly string[]
  /** Those of the configuration and those that every Node has. */
  readonly labels: Readonly<Record<string, string>>
  /** What the node runs short of. */
  readonly pressure: NodePressure
  /** Whether the machine is being shut down. */
  readonly closing: NodeClosing
  admit(pod: Pod, active: readonly Pod[]): Admission
  node(runtime: RuntimeFacts): Promise<KubeObject>
}

export const createSelf = async (deps: SelfDeps): Promise<Self> => {
  const { machine, settings, name, clock } = deps
  const rootFs = await fileSystemSize(deps.rootDir)
  const capacity = capacityOf(machine, rootFs, settings)
  const amounts = allocatableOf(capacity, settings)
  const labels = { ...defaultLabels(name, machine.architecture), ...deps.labels }
  let conditions: readonly NodeCondition[] = []
  const pressure = createNodePressure()
  const closing = createNodeClosing()
  const sysctls = toSysctlAllowList(machine.kernel, deps.allowedUnsafeSysctls)
  const features = { userNamespaces: false, supplementalGroupsPolicy: false }
  const admitting = {
    name,
    labels,
    allocatable: amounts,
    maxPods: amounts['pods'] ?? settings.maxPods,
    sysctls,
    hasAppArmor: machine.hasAppArmor,
    features,
  }
  return {
    allocatable: toList(amounts),
    enforced: enforcedOf(capacity, settings),
    addresses: deps.addresses,
    labels,
    pressure,
    closing,
    admit: (pod, active) =>
      closing.refused() ??
      refusedUnder(pressure.current(), pod) ??
      admit(pod, active, { ...admitting, labels: deps.nodeLabels?.() ?? labels }),
    node: async runtime => {
      const node = toNodeObject({
        name,
        machine,
        rootFs: await fileSystemSize(deps.rootDir),
        settings,
        health: { ...toHealth(pressure.current()), troubles: [...closing.troubles(), ...runtime.troubles] },
        before: conditions,
        addresses: deps.addresses(),
        labels,
        version: deps.version,
        runtime: runtime.version,
        port: 0,
        now: rfc3339(clock.now()),
      })
      conditions = node.status.conditions
      return node
    },
  }
}

const toList = (amounts: Amounts): ResourceList =>
  Object.fromEntries(
    Object.entries(amounts).map(([name, amount]) => [name, name === 'cpu' ? `${amount}m` : formatQuantity(String(amount))]),
  )

/** What of machine and configuration decides the figures in cgroups. */
export const resourceContext = (
  machine: Machine,
  cgroupVersion: 1 | 2,
  { cpuCFSQuota, cpuCFSQuotaPeriod, memorySwapBehavior, kubelet }: AgentConfig,
): ResourceContext => ({
  cgroupVersion,
  memoryBytes: machine.memoryBytes,
  swapBytes: machine.swapBytes,
  hasSwapController: machine.hasSwapController,
  hugePageSizes: machine.hugePages.map(it => it.size),
  cpuCfsQuota: cpuCFSQuota,
  cpuCfsQuotaPeriodUs: cpuCFSQuotaPeriod * 1000,
  singleProcessOomKill: kubelet.singleProcessOOMKill ?? cgroupVersion === 1,
  swapBehavior: memorySwapBehavior,
})

/**
 * For configurations that want no node on such a machine: the kubelet's failSwapOn and failCgroupV1.
 * @throws Fault `bad-config` naming the field and what to do
 */
export const refuseMachine = (
  { failSwapOn, failCgroupV1 }: Pick<AgentConfig, 'failSwapOn' | 'failCgroupV1'>,
  { swapBytes }: Pick<Machine, 'swapBytes'>,
  cgroupVersion: 1 | 2,
): void => {
  const problems = [
    ...(failSwapOn && swapBytes > 0 ? ['failSwapOn: true: swap is on: switch it off with `swapoff --all`, or want false'] : []),
    ...(failCgroupV1 && cgroupVersion === 1
      ? ['failCgroupV1: true: this machine has cgroup version 1: boot with systemd.unified_cgroup_hierarchy=1, or want false']
      : []),
  ]
  if (problems.length > 0) throw badConfig(problems)
}
