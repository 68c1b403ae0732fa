// What is wrong with a document: one problem per field, named by its dotted path, with one line saying what would be right.
// Turns valibot's issues into such problems; nobody else reads valibot's messages.
import type * as v from 'valibot'
import { nearest } from './nearest.ts'

export interface Problem {
  /** `spec.containers[0].image`; a key that holds dots or slashes as `metadata.labels[app.example/x]`; empty for the whole document. */
  readonly path: string
  /** What was found there; undefined when nothing was. */
  readonly value: unknown
  /** One line: what would be right. */
  readonly message: string
}

/** How a rule says that something is wrong. */
export type Report = (path: string, value: unknown, message: string) => void

/** `path` with one more step: a list index, a field, or a free key. */
export const join = (path: string, step: string | number): string => {
  if (typeof step === 'number') return `${path}[${step}]`
  if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(step)) return `${path}[${step}]`
  return path === '' ? step : `${path}.${step}`
}

/** The steps of a path that `join` built. */
export const stepsOf = (path: string): readonly (string | number)[] =>
  [...path.matchAll(/\[([^\]]*)\]|[^.[\]]+/g)].map(([whole, key]) =>
    key === undefined ? whole : /^\d+$/.test(key) ? Number(key) : key,
  )

const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}...` : text)

/** The problem as one line: path, what is there, what would be right. */
export const describeProblem = ({ path, value, message }: Problem): string =>
  [path, value === undefined ? '' : shorten(JSON.stringify(value) ?? String(value)), message]
    .filter(part => part !== '')
    .join(': ')

const kindOf = (value: unknown): string => {
  if (value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'a mapping' : `the ${typeof value}`
}

const quoted = (input: unknown): string => (typeof input === 'number' || typeof input === 'boolean' ? '; write it in quotes' : '')

const wants: Readonly<Record<string, string>> = {
  boolean: 'want true or false',
  number: 'want a number',
  array: 'want a list',
  object: 'want a mapping of fields',
  object_with_rest: 'want a mapping of fields',
  record: 'want a mapping',
}

const isMissing = (issue: v.BaseIssue<unknown>): boolean =>
  issue.input === undefined && (issue.type === 'object_with_rest' || issue.received === 'undefined')

const messageOf = (issue: v.BaseIssue<unknown>, last: string): string => {
  // `strict` gives `never` the names of the fields that there are
  if (issue.type === 'never') {
    const near = nearest(last, issue.message.split(' '))
    return `unknown field${near === undefined ? '' : `; did you mean "${near}"?`}`
  }
  if (isMissing(issue)) return 'required'
  if (issue.type === 'string') return `want a string, not ${kindOf(issue.input)}${quoted(issue.input)}`
  if (issue.type === 'picklist') {
    // an empty choice is the same as none and needs no mention
    const options = (issue.expected ?? '').replaceAll(/["()]/g, '').split(' | ')
    return `want one of ${options.filter(option => option !== '').join(', ')}`
  }
  return wants[issue.type] ?? issue.message
}

/** Valibot's issues as problems, in the order of the document's fields. */
export const toProblems = (issues: readonly v.BaseIssue<unknown>[]): readonly Problem[] =>
  issues.map(issue => {
    const steps = (issue.path ?? []).map(item => item.key as string | number)
    const path = steps.reduce<string>(join, '')
    const missing = isMissing(issue)
    return { path, value: missing ? undefined : issue.input, message: messageOf(issue, String(steps.at(-1) ?? '')) }
  })
