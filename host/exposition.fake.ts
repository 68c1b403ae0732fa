// Reads the text of metrics back, for tests: the lines that a scraper would see, with their labels.

export interface ReadSample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
  readonly timestampMs?: number
}

const toPlainText = (text: string): string => text.replace(/\\(.)/g, (_, it: string) => (it === 'n' ? '\n' : it))

/** Every sample of the text. @throws Error on a line that is neither a comment nor a sample, or a sample of no declared type */
export const readExposition = (text: string): readonly ReadSample[] => {
  const declared = new Set<string>()
  return text.split('\n').flatMap((line): ReadSample[] => {
    if (line.startsWith('# TYPE ')) {
      const name = line.split(' ')[2] ?? ''
      if (declared.has(name)) throw new Error(`declared twice: ${name}`)
      declared.add(name)
    }
    if (line === '' || line.startsWith('#')) return []
    const [, name = '', labels = '', value = '', at] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: (\d+))?$/.exec(line) ?? []
    if (name === '') throw new Error(`not a sample: ${line}`)
    if (!declared.has(name) && !declared.has(name.replace(/_(bucket|sum|count)$/, ''))) throw new Error(`no type: ${name}`)
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(
      ([, key = '', it = '']) => [key, toPlainText(it)] as const,
    )
    const sample = { name, labels: Object.fromEntries(pairs), value: value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value) }
    return [at === undefined ? sample : { ...sample, timestampMs: Number(at) }]
  })
}

/** The value of the one sample of that name whose labels have these values. */
export const sampleValue = (
  samples: readonly ReadSample[],
  name: string,
  labels: Record<string, string> = {},
): number | undefined =>
  samples.find(it => it.name === name && Object.entries(labels).every(([key, value]) => it.labels[key] === value))?.value
