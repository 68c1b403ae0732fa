// A manifest file's text to its documents, each with its number and the lines of its fields. Pure: no file is read here.
// YAML 1.2 (JSON is a part of it), several documents per file, List kinds flattened, empty documents left out, a key twice is an error.
// Deviates from 1.2 in two things that every manifest relies on: `0644` is octal, and `<<` merges.
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type ScalarTag,
  type Tags,
} from 'yaml'
import { join, stepsOf } from '../../api/validate/problem.ts'

export interface FileDocument {
  /** Counted from 1, empty ones and all; the items of a List share theirs. */
  readonly number: number
  /** Where it begins in the file, counted from 1. */
  readonly line: number
  readonly value: unknown
  /** The line of a field of `value`, or of the closest parent that is there. */
  lineOf(path: string): number
}

export interface BrokenDocument {
  readonly number: number
  readonly line: number
  /** What the parser says, in one line. */
  readonly message: string
}

export interface ParsedFile {
  readonly documents: readonly FileDocument[]
  readonly broken: readonly BrokenDocument[]
}

// YAML 1.1 wrote octal so, and file modes are written like this in every example; 1.2 would read 644 in decimal.
const octal: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^[-+]?0[0-7]+$/,
  resolve: text => Number.parseInt(text, 8),
}

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The character where the field at `path` stands. */
const offsetOf = (document: Document, path: string): number => {
  let node: unknown = document.contents
  let offset = (node as Node | null)?.range?.[0] ?? document.range?.[0] ?? 0
  for (const step of stepsOf(path)) {
    if (isAlias(node)) node = node.resolve(document)
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === String(step))
      if (pair === undefined) break
      offset = (pair.key as Node).range?.[0] ?? offset
      node = pair.value
    } else if (isSeq(node) && typeof step === 'number') {
      node = node.items[step]
      offset = (node as Node | undefined)?.range?.[0] ?? offset
    } else break
  }
  return offset
}

/** The items of a List, or the value itself; items of a PodList need no kind of their own. */
const flatten = (value: unknown): readonly { readonly value: unknown; readonly path: string }[] => {
  const kind = isMapping(value) ? value['kind'] : undefined
  if (!isMapping(value) || typeof kind !== 'string' || !kind.endsWith('List') || !Array.isArray(value['items']))
    return [{ value, path: '' }]
  const own = kind === 'List' ? {} : { apiVersion: value['apiVersion'], kind: kind.slice(0, -'List'.length) }
  return value['items'].map((item, index) => ({
    value: isMapping(item) ? { ...own, ...item } : item,
    path: join('items', index),
  }))
}

/** Reads a manifest file's text. Never throws: what cannot be read is in `broken`. */
export const parseManifests = (text: string): ParsedFile => {
  const lines = new LineCounter()
  const customTags = (tags: Tags): Tags => [octal, ...tags]
  const parsed = parseAllDocuments(text, {
    lineCounter: lines,
    version: '1.2',
    merge: true,
    prettyErrors: false,
    logLevel: 'silent',
    customTags,
  })
  const all = [...parsed] as Document[]
  const documents: FileDocument[] = []
  const broken: BrokenDocument[] = []
  const lineAt = (offset: number) => Math.max(lines.linePos(offset).line, 1)
  for (const [index, document] of all.entries()) {
    const number = index + 1
    const [error] = document.errors
    if (error !== undefined) {
      broken.push({ number, line: lineAt(error.pos[0]), message: error.message.split('\n')[0] ?? error.message })
      continue
    }
    try {
      const whole = document.toJS({ maxAliasCount: 100 }) as unknown
      if (whole === null || whole === undefined) continue
      for (const { value, path } of flatten(whole)) {
        const lineOf = (field: string) =>
          lineAt(offsetOf(document, field.startsWith('[') || path === '' || field === '' ? path + field : `${path}.${field}`))
        documents.push({ number, line: lineOf(''), value, lineOf })
      }
    } catch (error) {
      // aliases that would grow without bound, or that name nothing
      broken.push({
        number,
        line: lineAt(document.range?.[0] ?? 0),
        message: error instanceof Error ? error.message : String(error),
      })
    }
  }
  return { documents, broken }
}
