// /healthz and its single checks, as the kubelet's port, the read-only port and the health port answer them. Pure.
// Follows apiserver's healthz: `ok`, or every check by name; what a check says is told only where that check is asked.
import { type Answer, type Ask, notFound, refuse } from './answer.ts'

/** A check by name; it says what is wrong, or undefined. */
export type HealthChecks = Readonly<Record<string, () => string | undefined>>

const ok = (body: string): Answer => ({ status: 200, headers: { 'X-Content-Type-Options': 'nosniff' }, body })

export const serveHealth = ({ segments, query }: Pick<Ask, 'segments' | 'query'>, checks: HealthChecks): Answer => {
  const [, name, ...more] = segments
  if (more.length > 0) return notFound
  if (name !== undefined && name !== '') {
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined
    if (check === undefined) return notFound
    const wrong = check()
    return wrong === undefined ? ok('ok') : refuse(500, `internal server error: ${wrong}\n`)
  }
  const excluded = new Set(query.getAll('exclude'))
  const lines: string[] = []
  let hasFailed = false
  for (const [it, check] of Object.entries(checks)) {
    const isExcluded = excluded.delete(it)
    const fails = !isExcluded && check() !== undefined
    hasFailed ||= fails
    lines.push(fails ? `[-]${it} failed: reason withheld` : `[+]${it} ${isExcluded ? 'excluded: ' : ''}ok`)
  }
  if (excluded.size > 0) {
    const unknown = [...excluded].map(it => `"${it}"`).join(',')
    lines.push(`warn: some health checks cannot be excluded: no matches for ${unknown}`)
  }
  if (hasFailed) return refuse(500, `${lines.join('\n')}\nhealthz check failed\n`)
  return ok(query.has('verbose') ? `${lines.join('\n')}\nhealthz check passed\n` : 'ok')
}
