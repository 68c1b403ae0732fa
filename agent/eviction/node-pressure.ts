// What the node runs short of right now: eviction writes it, admission and whoever shows the Node read it. Holds it and decides nothing.
import type { NodeHealth } from '../node.ts'
import type { PressureCondition } from './thresholds.ts'

export interface NodePressure {
  /** The conditions that are true. */
  current(): readonly PressureCondition[]
  set(conditions: readonly PressureCondition[]): void
}

export const createNodePressure = (): NodePressure => {
  let conditions: readonly PressureCondition[] = []
  return {
    current: () => conditions,
    set: now => {
      conditions = now
    },
  }
}

/** The same as the Node's health has it. */
export const toHealth = (conditions: readonly PressureCondition[]): Omit<NodeHealth, 'troubles'> => ({
  memoryPressure: conditions.includes('MemoryPressure'),
  diskPressure: conditions.includes('DiskPressure'),
  pidPressure: conditions.includes('PIDPressure'),
})
