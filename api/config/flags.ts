// Command-line flags as kubelet and kube-proxy take them (Go's pflag): a table of flags in, their values out. Pure.
// `--flag=value`, `--flag value`, `--flag` for true, `-v4`; `_` counts as `-`; later ones win or, for lists and maps, add up.

import { badConfig, type Fields, suggestion } from './document.ts'
import { parseDuration } from './duration.ts'

/** How a flag's text is read; what comes out is what the configuration file would hold. */
export type FlagKind =
  | 'text'
  | 'switch'
  | 'integer'
  | 'number'
  | 'duration'
  /** `a,b` */
  | 'list'
  /** `a=b,c=d` */
  | 'map'
  /** `Gate=true,Other=false` */
  | 'switches'
  /** `memory.available<1Gi` */
  | 'thresholds'
  /** `name:value,name:other` */
  | 'headers'
  /** `key=value:Effect` */
  | 'taints'
  /** `0:memory=1Gi,hugepages-2Mi=2Gi` */
  | 'reserved-memory'

export interface Flag {
  readonly kind: FlagKind
  /** The configuration field that it sets, dotted: `authentication.anonymous.enabled`. */
  readonly field?: string
  /** Why it does nothing any more; it is taken with a warning. */
  readonly ignored?: string
  readonly short?: string
}

export interface ReadFlags {
  /** Values of flags that set no configuration field, by flag name. */
  readonly options: Readonly<Record<string, unknown>>
  /** What the flags lay over the configuration file. */
  readonly fields: Fields
  /** Which flag set which field. */
  readonly origins: ReadonlyMap<string, string>
  /** Fields that a flag says as a whole: what a file has there counts no more. */
  readonly replaces: readonly string[]
  readonly warnings: readonly string[]
}

type Read = { readonly value: unknown } | { readonly want: string }

const pairs = (text: string, separator: string): readonly (readonly [string, string])[] | undefined => {
  const parts = text.split(',').filter(part => part.trim() !== '')
  const split = parts.map(part => [part, part.indexOf(separator)] as const)
  if (split.some(([, at]) => at < 1)) return undefined
  return split.map(([part, at]) => [part.slice(0, at).trim(), part.slice(at + separator.length).trim()])
}

const trueWords = ['1', 't', 'T', 'true', 'TRUE', 'True']
const falseWords = ['0', 'f', 'F', 'false', 'FALSE', 'False']
const readSwitch = (text: string): boolean | undefined =>
  trueWords.includes(text) ? true : falseWords.includes(text) ? false : undefined

const readTaint = (text: string): object | undefined => {
  const [, key, value, effect] = /^([^=:]+)(?:=([^:]*))?:([A-Za-z]+)$/.exec(text) ?? []
  return key === undefined ? undefined : { key, ...(value !== undefined && { value }), effect }
}

const orWant = (value: unknown, want: string): Read => (value === undefined ? { want } : { value })
const fromPairs = (text: string, separator: string, want: string): Read => {
  const found = pairs(text, separator)
  return found === undefined ? { want } : { value: Object.fromEntries(found) }
}

const readers: { readonly [K in FlagKind]: (text: string) => Read } = {
  text: value => ({ value }),
  switch: text => orWant(readSwitch(text), 'want true or false'),
  integer: text => orWant(/^[-+]?\d+$/.test(text) ? Number(text) : undefined, 'want a whole number'),
  number: text => orWant(text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined, 'want a number'),
  duration: text => orWant(parseDuration(text) === undefined ? undefined : text, 'want a duration such as 30s, 1m30s or 100ms'),
  list: text => ({ value: text.split(',').filter(part => part !== '') }),
  map: text => fromPairs(text, '=', 'want name=value,name=value'),
  switches: text => {
    const found = pairs(text, '=')?.map(([name, word]) => [name, readSwitch(word)] as const)
    if (found?.every(([, value]) => value !== undefined) !== true) return { want: 'want Gate=true,Other=false' }
    return { value: Object.fromEntries(found) }
  },
  thresholds: text => fromPairs(text, '<', 'want signal<amount,signal<amount such as memory.available<100Mi'),
  headers: text => {
    const found = pairs(text, ':')
    if (found === undefined) return { want: 'want name:value,name:value' }
    const headers: Record<string, string[]> = {}
    for (const [name, value] of found) headers[name] = [...(headers[name] ?? []), value]
    return { value: headers }
  },
  taints: text => {
    const taints = text
      .split(',')
      .filter(part => part !== '')
      .map(readTaint)
    return taints.includes(undefined) ? { want: 'want key=value:Effect,key:Effect' } : { value: taints }
  },
  'reserved-memory': text => {
    const [, node, rest = ''] = /^(\d+):(.+)$/.exec(text) ?? []
    const limits = pairs(rest, '=')
    if (node === undefined || limits === undefined || limits.length === 0)
      return { want: 'want NODE:memory=1Gi,hugepages-2Mi=2Gi' }
    return { value: [{ numaNode: Number(node), limits: Object.fromEntries(limits) }] }
  },
}

// A list flag given twice adds to the first; a map flag merges. Everything else is replaced.
const addUp = (kind: FlagKind, before: unknown, now: unknown): unknown => {
  if (before === undefined) return now
  if (kind === 'list' || kind === 'taints' || kind === 'reserved-memory') return [...(before as unknown[]), ...(now as unknown[])]
  if (kind === 'headers') {
    const [a, b] = [before as Record<string, string[]>, now as Record<string, string[]>]
    return Object.fromEntries(
      [...new Set([...Object.keys(a), ...Object.keys(b)])].map(name => [name, [...(a[name] ?? []), ...(b[name] ?? [])]]),
    )
  }
  return kind === 'map' || kind === 'switches' || kind === 'thresholds' ? { ...(before as object), ...(now as object) } : now
}

const nest = (steps: readonly string[], value: unknown): unknown =>
  steps.length === 0 ? value : { [steps[0]!]: nest(steps.slice(1), value) }

const layOver = (under: Fields, path: string, value: unknown): Fields => {
  const [first = '', ...rest] = path.split('.')
  const below = under[first]
  if (rest.length === 0) return { ...under, [first]: value }
  const inner = typeof below === 'object' && below !== null ? layOver(below as Fields, rest.join('.'), value) : nest(rest, value)
  return { ...under, [first]: inner }
}

interface Written {
  readonly name: string
  readonly text: string | undefined
}

/** Tells the flags from each other; whether one takes the next word depends on its kind. */
const tokenize = (argv: readonly string[], table: Readonly<Record<string, Flag>>): readonly Written[] => {
  const shorts = new Map(
    Object.entries(table).flatMap(([name, flag]) => (flag.short === undefined ? [] : [[flag.short, name] as const])),
  )
  const written: Written[] = []
  const words = argv[Symbol.iterator]()
  for (const word of words) {
    const [, dashes = '', body = '', equals, after = ''] = /^(-{1,2})([^=]*)(=?)(.*)$/s.exec(word) ?? []
    if (dashes === '' || body === '') throw badConfig([`${JSON.stringify(word)}: want flags only, each as --name=value`])
    const short = dashes === '-' ? shorts.get(body[0]!) : undefined
    if (dashes === '-' && short === undefined)
      throw badConfig([`${word}: unknown flag${suggestion(body, Object.keys(table), '--')}`])
    const name = short ?? body.replaceAll('_', '-')
    const flag = Object.hasOwn(table, name) ? table[name] : undefined
    if (flag === undefined) throw badConfig([`--${name}: unknown flag${suggestion(name, Object.keys(table), '--')}`])
    const attached = short !== undefined && body.length > 1 ? body.slice(1) + equals + after : equals === '=' ? after : undefined
    if (attached !== undefined || flag.kind === 'switch') written.push({ name, text: attached })
    else {
      const next = words.next()
      if (next.done) throw badConfig([`--${name}: needs a value`])
      written.push({ name, text: next.value })
    }
  }
  return written
}

/**
 * Reads a command line by a table of flags.
 * @throws Fault `bad-config` naming the flag: unknown (with the closest known one), without a value, or with one that cannot be
 */
export const readFlags = (argv: readonly string[], table: Readonly<Record<string, Flag>>): ReadFlags => {
  const values = new Map<string, unknown>()
  const warnings: string[] = []
  for (const { name, text } of tokenize(argv, table)) {
    const flag = table[name]!
    if (flag.ignored !== undefined) {
      warnings.push(`--${name}: ${flag.ignored}`)
      continue
    }
    const read = text === undefined ? { value: true } : readers[flag.kind](text)
    if ('want' in read) throw badConfig([`--${name}: ${JSON.stringify(text)}: ${read.want}`])
    values.set(name, addUp(flag.kind, values.get(name), read.value))
  }
  const options: Record<string, unknown> = {}
  const origins = new Map<string, string>()
  const replaces: string[] = []
  let fields: Fields = {}
  for (const [name, value] of values) {
    const { field, kind } = table[name]!
    if (field === undefined) options[name] = value
    else {
      fields = layOver(fields, field, value)
      origins.set(field, `--${name}`)
      if (kind === 'map' || kind === 'thresholds' || kind === 'headers') replaces.push(field)
    }
  }
  return { options, fields, origins, replaces, warnings }
}
