// Collects samples by the name of their metric, for expositions that are made anew at each scrape.
import type { Family, MetricType, Sample } from '../../host/exposition.ts'

export interface MetricName {
  readonly name: string
  readonly help: string
  readonly type: Exclude<MetricType, 'histogram'>
}

export interface FamilySet {
  /** Adds nothing when the value is not known. */
  add(metric: MetricName, labels: Sample['labels'], value: number | undefined, timestampMs?: number): void
  families(): readonly Family[]
}

export const createFamilySet = (): FamilySet => {
  const found = new Map<string, MetricName & { samples: Sample[] }>()
  return {
    add: (metric, labels, value, timestampMs) => {
      if (value === undefined || Number.isNaN(value)) return
      const family = found.get(metric.name) ?? { ...metric, samples: [] }
      found.set(metric.name, family)
      family.samples.push({ labels: labels ?? {}, value, ...(timestampMs !== undefined && { timestampMs }) })
    },
    families: () => [...found.values()],
  }
}

export const counter = (name: string, help: string): MetricName => ({ name, help, type: 'counter' })
export const gauge = (name: string, help: string): MetricName => ({ name, help, type: 'gauge' })
