// Runs one test file as a process of its own and reads its TAP: what passed, what failed and how, what was skipped.
// A file counts as failed also when it exits with an error, runs out of time, or asserts nothing.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { Parser, type Result } from 'tap-parser'

export interface FileResult {
  readonly path: string
  readonly passed: number
  readonly skipped: number
  /** One text per failure, with its diagnostics. */
  readonly failures: readonly string[]
  readonly ms: number
}

export interface FileOptions {
  readonly timeoutMs: number
  readonly env: Readonly<Record<string, string>>
}

// Where the source stands is told by `at`; the rest of the stack is tap's own.
const wordyDiagnostics = new Set(['stack', 'source', 'tapCaller', 'time'])

const indent = (lines: string) => lines.trimEnd().replace(/^/gm, '      ')

const toText = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

const toFailure = (path: string, { fullname, name, diag }: Result): string => {
  const fields = Object.entries((diag ?? {}) as Record<string, unknown>).filter(([key]) => !wordyDiagnostics.has(key))
  const shown = fields.map(([key, value]) => {
    const said = toText(value)
    return said.includes('\n') ? `      ${key}:\n${indent(indent(said))}` : `      ${key}: ${said}`
  })
  return [`${path}: ${fullname || name}`, ...shown].join('\n')
}

interface Tally {
  passed: number
  skipped: number
  readonly failures: string[]
}

/** Counts assertions of a parser and of its subtests; the line that sums a subtest up counts only when nothing in it did. */
const count = (parser: Parser, path: string, tally: Tally): void => {
  let pending: { readonly seen: number; readonly failed: number } | undefined
  const seen = () => tally.passed + tally.skipped + tally.failures.length
  parser.on('child', (child: Parser) => {
    pending = { seen: seen(), failed: tally.failures.length }
    count(child, path, tally)
  })
  parser.on('assert', (result: Result) => {
    const summary = pending
    pending = undefined
    const failed = !result.ok && !result.todo
    if (summary !== undefined && (failed ? tally.failures.length > summary.failed : seen() > summary.seen)) return
    if (result.skip || result.todo) tally.skipped += 1
    else if (failed) tally.failures.push(toFailure(path, result))
    else if (summary !== undefined) tally.failures.push(`${path}: ${result.fullname}: asserted nothing`)
    else tally.passed += 1
  })
}

/** Runs a test file to its end. */
export const runFile = async (path: string, { timeoutMs, env }: FileOptions): Promise<FileResult> => {
  const started = performance.now()
  const tally: Tally = { passed: 0, skipped: 0, failures: [] }
  const parser = new Parser()
  count(parser, path, tally)
  const stray: string[] = []
  parser.on('extra', (line: string) => stray.push(line))

  // A group of its own, so that running out of time ends also what the file has started.
  const child = spawn(process.execPath, [path], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    detached: true,
  })
  let late = false
  const timer = setTimeout(() => {
    late = true
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  }, timeoutMs)
  child.stdout.on('data', chunk => parser.write(chunk))
  const [stderr, [code, signal]] = await Promise.all([
    text(child.stderr),
    once(child, 'close') as Promise<[number | null, string | null]>,
  ])
  clearTimeout(timer)
  parser.end()

  const problem = () => {
    if (late) return `took longer than ${timeoutMs / 1000} s`
    if (code !== 0 && tally.failures.length === 0) return `ended with ${signal ?? `exit code ${code}`}`
    if (tally.passed + tally.skipped + tally.failures.length === 0) return 'asserted nothing'
    return undefined
  }
  const said = problem()
  if (said !== undefined) tally.failures.push(`${path}: ${said}`)
  const output = `${stray.join('')}${stderr}`.trim()
  if (tally.failures.length > 0 && output !== '')
    tally.failures[tally.failures.length - 1] += `\n      output:\n${indent(indent(output))}`
  return { path, ...tally, ms: performance.now() - started }
}
