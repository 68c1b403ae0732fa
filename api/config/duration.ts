// Durations as Go programs write them: `300ms`, `1h15m30.5s`. Pure. Follows Go's time.ParseDuration.
import type { Millis } from '../../host/clock.ts'

const unitMs = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const
const isUnit = (text: string): text is keyof typeof unitMs => Object.hasOwn(unitMs, text)

/** Milliseconds of a duration in Go's writing; undefined when it is none. */
export const parseDuration = (text: string): Millis | undefined => {
  const [, sign, rest = ''] = /^([-+]?)(.*)$/s.exec(text) ?? []
  if (rest === '0') return 0
  const parts = [...rest.matchAll(/(\d+\.?\d*|\.\d+)([a-zµμ]+)/gy)]
  if (parts.length === 0 || parts.reduce((length, [part]) => length + part.length, 0) !== rest.length) return undefined
  let sum = 0
  for (const [, amount, unit = ''] of parts) {
    if (!isUnit(unit)) return undefined
    sum += Number(amount) * unitMs[unit]
  }
  return sign === '-' ? -sum : sum
}

/** Milliseconds in Go's writing: `1m30s`, `100ms`, `0s`. */
export const formatDuration = (ms: Millis): string => {
  if (ms === 0) return '0s'
  if (Math.abs(ms) < 1000) return `${ms}ms`
  const [sign, size] = ms < 0 ? ['-', -ms] : ['', ms]
  const [hours, minutes, seconds] = [Math.floor(size / 3_600_000), Math.floor(size / 60_000) % 60, (size % 60_000) / 1000]
  return `${sign}${hours > 0 ? `${hours}h` : ''}${hours > 0 || minutes > 0 ? `${minutes}m` : ''}${seconds}s`
}
