// Metrics as text: the Prometheus exposition format 0.0.4, which every scraper of a node reads. Pure.
// Written here because prom-client knows no timestamps, which /metrics/resource and /metrics/cadvisor carry.
// Follows prometheus.io: Exposition formats, "Text-based format".

export type MetricType = 'counter' | 'gauge' | 'histogram'

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
  /** When it was measured, in milliseconds; without it the scraper takes the time of its scrape. */
  readonly timestampMs?: number
  /** The line of a histogram that this is. */
  readonly suffix?: '_bucket' | '_sum' | '_count'
}

/** All series of one name. */
export interface Family {
  readonly name: string
  readonly help: string
  readonly type: MetricType
  readonly samples: readonly Sample[]
}

/** What a scraper is told of the text. */
export const expositionType = 'text/plain; version=0.0.4; charset=utf-8'

const escapeHelp = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
const escapeLabel = (text: string): string => (/["\\\n]/.test(text) ? escapeHelp(text).replaceAll('"', '\\"') : text)

/** A number as Go's parser reads it. */
export const toNumberText = (value: number): string =>
  Number.isFinite(value) ? String(value) : Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf'

type Labels = Sample['labels']

const toSelector = (labels: Labels): string => {
  const pairs = Object.entries(labels ?? {}).map(([label, text]) => `${label}="${escapeLabel(text)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

/** Labels that many samples share are written once: hundreds of cgroups have dozens of metrics each. */
const createSelectors = () => {
  const known = new Map<Labels, string>()
  return (labels: Labels): string => {
    const text = known.get(labels) ?? toSelector(labels)
    known.set(labels, text)
    return text
  }
}

const toLine = (name: string, { value, timestampMs, suffix }: Sample, selector: string): string => {
  const at = timestampMs === undefined ? '' : ` ${Math.round(timestampMs)}`
  return `${name}${suffix ?? ''}${selector} ${toNumberText(value)}${at}\n`
}

/** The families in the order of their names; one without series is left out, as the Go client leaves it out. */
export const toExposition = (families: Iterable<Family>): string => {
  const sorted = [...families].filter(it => it.samples.length > 0).sort((a, b) => (a.name < b.name ? -1 : 1))
  const selectorOf = createSelectors()
  return sorted
    .map(({ name, help, type, samples }) => {
      const head = `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`
      return head + samples.map(sample => toLine(name, sample, selectorOf(sample.labels))).join('')
    })
    .join('')
}
