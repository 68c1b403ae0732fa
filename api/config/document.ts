// Configuration files: one YAML or JSON document of one kind, every field known, every problem named. Pure: the text comes in.
// Follows the strict decoding of kubelet and kube-proxy configuration (an unknown or repeated field is an error).
import { custom, type GenericSchema, pipe, transform } from 'valibot'
import { parseAllDocuments } from 'yaml'
import type { Millis } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { nearest } from '../validate/nearest.ts'
import { describeProblem, type Problem } from '../validate/problem.ts'
import { parseDuration } from './duration.ts'

/** A field that holds a duration in Go's writing; read as milliseconds. */
export const duration: GenericSchema<unknown, Millis> = pipe(
  custom<string>(
    value => typeof value === 'string' && parseDuration(value) !== undefined,
    'want a duration such as 30s, 1m30s or 100ms',
  ),
  transform(text => parseDuration(text) ?? 0),
)

export type Fields = Readonly<Record<string, unknown>>

/** The fault of a configuration that cannot be used: all its problems in one line. */
export const badConfig = (problems: readonly string[]): Fault =>
  new Fault('bad-config', problems.map(problem => problem.replaceAll('\n', ' ')).join('; '), { retry: 'never' })

/** One line per problem, each led by where it comes from: a file, or the flag that said it. */
export const describeProblems = (problems: readonly Problem[], originOf: (path: string) => string): readonly string[] =>
  problems.map(problem => {
    const origin = originOf(problem.path)
    // a flag is the field's name already
    return origin.startsWith('--') ? describeProblem({ ...problem, path: origin }) : `${origin}: ${describeProblem(problem)}`
  })

const isMapping = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value)

const withoutNulls = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (!isMapping(value)) return value
  const given = Object.entries(value).filter(([, inner]) => inner !== null)
  return Object.fromEntries(given.map(([key, inner]) => [key, withoutNulls(inner)]))
}

/**
 * The fields of a configuration file, without apiVersion and kind.
 * @throws Fault `bad-config` naming the file: when it is no YAML, holds not exactly one document, or is of another kind
 */
export const parseConfigFile = (file: string, text: string, apiVersion: string, kind: string): Fields => {
  const documents = [...parseAllDocuments(text, { prettyErrors: false, logLevel: 'silent', merge: true })].filter(
    document => document.errors.length > 0 || (document.contents ?? null) !== null,
  )
  const [error] = documents.flatMap(document => document.errors)
  if (error !== undefined) {
    const line = text.slice(0, error.pos[0]).split('\n').length
    throw badConfig([`${file}: line ${line}: ${error.message}`])
  }
  const value: unknown = documents[0]?.toJS()
  if (documents.length !== 1 || !isMapping(value))
    throw badConfig([`${file}: want one document of kind ${kind}, not ${documents.length}`])
  const { apiVersion: givenVersion, kind: givenKind, ...fields } = withoutNulls(value) as Fields
  if (givenKind !== kind || givenVersion !== apiVersion) {
    const given = `${givenVersion ?? '(no apiVersion)'}, kind: ${givenKind ?? '(no kind)'}`
    throw badConfig([`${file}: want apiVersion: ${apiVersion}, kind: ${kind}, not ${given}`])
  }
  return fields
}

/** `under` with every field of `over` laid on it: mappings are merged, all else is replaced (RFC 7396). */
export const mergeFields = (under: Fields, over: Fields): Fields => {
  const merged: Record<string, unknown> = { ...under }
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key]
    merged[key] = isMapping(value) && isMapping(below) ? mergeFields(below, value) : value
  }
  return merged
}

/** `: did you mean --max-pods?`, or nothing. */
export const suggestion = (word: string, candidates: readonly string[], prefix = ''): string => {
  const near = nearest(word, candidates)
  return near === undefined ? '' : `; did you mean ${prefix}${near}?`
}
