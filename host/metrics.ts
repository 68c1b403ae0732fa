// Counters, gauges and histograms of this process: recorded in plain objects, turned into families when somebody scrapes.
// A recording is a map look-up and an addition, so that parts may record on every call. Nothing here knows what is measured.
// Not prom-client: importing it takes 15 MB of memory, a sixth of what the whole daemon has, and it knows no timestamps.
import type { Family, MetricType, Sample } from './exposition.ts'

/** The values of a metric's labels, one for each. */
export type LabelValues<L extends string> = Readonly<Record<L, string>>

interface Series<L extends string> {
  /** Ends the series whose labels have these values: what they tell of is gone. */
  remove(labels: Partial<LabelValues<L>>): void
}

export interface Counter<L extends string = never> extends Series<L> {
  inc(labels: LabelValues<L>, by?: number): void
}

export interface Gauge<L extends string = never> extends Series<L> {
  set(labels: LabelValues<L>, value: number): void
  add(labels: LabelValues<L>, by: number): void
}

export interface Histogram<L extends string = never> extends Series<L> {
  observe(labels: LabelValues<L>, value: number): void
}

/** Families that are worked out when they are asked for, instead of being kept. */
export type Collector = () => readonly Family[] | Promise<readonly Family[]>

export interface Metrics {
  /** Asked for twice under one name, it is the same one. A metric without labels is there from the start, with 0. */
  counter<L extends string = never>(name: string, help: string, labels?: readonly L[]): Counter<L>
  gauge<L extends string = never>(name: string, help: string, labels?: readonly L[]): Gauge<L>
  /** @param buckets upper bounds, ascending; `defaultBuckets` when left out */
  histogram<L extends string = never>(
    name: string,
    help: string,
    labels?: readonly L[],
    buckets?: readonly number[],
  ): Histogram<L>
  /** Called at every scrape. One that fails is left out of it. */
  collect(collector: Collector): void
  families(): Promise<readonly Family[]>
}

/** Seconds; those of the Prometheus clients. */
export const defaultBuckets: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** `count` bounds, the first `start`, each `factor` times the one before. */
export const exponentialBuckets = (start: number, factor: number, count: number): readonly number[] =>
  Array.from({ length: count }, (_, index) => start * factor ** index)

interface Kept<V> {
  readonly labels: Readonly<Record<string, string>>
  value: V
}

/** The series of one metric, by their labels' values. */
const createSeries = <L extends string, V>(names: readonly L[], fresh: () => V) => {
  const kept = new Map<string, Kept<V>>()
  const at = (labels: LabelValues<L>): Kept<V> => {
    const key = names.length === 0 ? '' : names.map(name => labels[name]).join('\0')
    const there = kept.get(key)
    if (there !== undefined) return there
    const made = { labels: Object.fromEntries(names.map(name => [name, labels[name]])), value: fresh() }
    kept.set(key, made)
    return made
  }
  if (names.length === 0) at({} as LabelValues<L>)
  return {
    at,
    all: () => [...kept.values()],
    remove: (labels: Partial<LabelValues<L>>) => {
      const wanted = Object.entries(labels)
      for (const [key, series] of kept) if (wanted.every(([name, value]) => series.labels[name] === value)) kept.delete(key)
    },
  }
}

interface Buckets {
  readonly counts: Float64Array
  sum: number
  count: number
}

const toSamples = ({ labels, value }: Kept<Buckets>, bounds: readonly number[]): readonly Sample[] => {
  let below = 0
  const buckets = [...bounds, Number.POSITIVE_INFINITY].map((bound, index): Sample => {
    below += value.counts[index] ?? 0
    const le = bound === Number.POSITIVE_INFINITY ? '+Inf' : String(Number(bound.toPrecision(12)))
    return { suffix: '_bucket', labels: { ...labels, le }, value: below }
  })
  return [...buckets, { suffix: '_sum', labels, value: value.sum }, { suffix: '_count', labels, value: value.count }]
}

const createNumber = <L extends string>(names: readonly L[]) => {
  const series = createSeries(names, () => 0)
  const add = (labels: LabelValues<L>, by: number) => {
    series.at(labels).value += by
  }
  const part: Counter<L> & Gauge<L> = {
    inc: (labels, by = 1) => add(labels, by),
    add,
    set: (labels, value) => {
      series.at(labels).value = value
    },
    remove: series.remove,
  }
  return { part, samples: (): readonly Sample[] => series.all() }
}

const createHistogram = <L extends string>(names: readonly L[], bounds: readonly number[]) => {
  const series = createSeries<L, Buckets>(names, () => ({ counts: new Float64Array(bounds.length + 1), sum: 0, count: 0 }))
  const part: Histogram<L> = {
    observe: (labels, value) => {
      const buckets = series.at(labels).value
      const found = bounds.findIndex(bound => value <= bound)
      const index = found < 0 ? bounds.length : found
      buckets.counts[index] = (buckets.counts[index] ?? 0) + 1
      buckets.sum += value
      buckets.count += 1
    },
    remove: series.remove,
  }
  return { part, samples: () => series.all().flatMap(it => toSamples(it, bounds)) }
}

interface Registered {
  readonly help: string
  readonly type: MetricType
  readonly part: unknown
  readonly samples: () => readonly Sample[]
}

export const createMetrics = (): Metrics => {
  const registered = new Map<string, Registered>()
  const collectors: Collector[] = []
  const register = <P>(
    name: string,
    help: string,
    type: MetricType,
    make: () => { part: P; samples: Registered['samples'] },
  ): P => {
    const there = registered.get(name)
    if (there?.type === type) return there.part as P
    if (there !== undefined) throw new TypeError(`metric ${name} is a ${there.type}, not a ${type}`)
    const made = make()
    registered.set(name, { help, type, ...made })
    return made.part
  }
  return {
    counter: (name, help, labels = []) => register(name, help, 'counter', () => createNumber(labels)),
    gauge: (name, help, labels = []) => register(name, help, 'gauge', () => createNumber(labels)),
    histogram: (name, help, labels = [], buckets = defaultBuckets) =>
      register(name, help, 'histogram', () => createHistogram(labels, buckets)),
    collect: collector => void collectors.push(collector),
    families: async () => {
      const own = [...registered].map(([name, { help, type, samples }]): Family => ({ name, help, type, samples: samples() }))
      const asked = await Promise.allSettled(collectors.map(async collector => collector()))
      return [...own, ...asked.flatMap(it => (it.status === 'fulfilled' ? it.value : []))]
    },
  }
}
