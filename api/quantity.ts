// Resource amounts (`100m`, `1.5Gi`, `2e3`) read exactly, compared, and written in their canonical form. Pure.
// Follows k8s.io: Quantity (apimachinery/pkg/api/resource): nothing is finer than a billionth, what is left over rounds
// away from zero, and what is larger than 2^63-1 counts as 2^63-1.
import { Fault } from '../host/fault.ts'
import type { Quantity } from './meta.ts'

/** How an amount was written; kept so that it is written back in the same family of suffixes. */
export type QuantityFormat = 'decimal-si' | 'binary-si' | 'decimal-exponent'

export interface ParsedQuantity {
  /** Billionths of the unit; exact. */
  readonly nano: bigint
  readonly format: QuantityFormat
}

const billion = 10n ** 9n
const largest = (2n ** 63n - 1n) * billion
const pattern = /^([+-]?)(\d*)(?:\.(\d*))?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d{1,4})?$/
const decimalExponents = { n: -9, u: -6, m: -3, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 } as const
const binaryPowers = { Ki: 1n, Mi: 2n, Gi: 3n, Ti: 4n, Pi: 5n, Ei: 6n } as const
const isKeyOf = <T extends object>(table: T, key: string): key is string & keyof T => Object.hasOwn(table, key)

const clamp = (nano: bigint): bigint => (nano > largest ? largest : nano < -largest ? -largest : nano)

/** Divides, rounding away from zero. */
const divideUp = (value: bigint, by: bigint): bigint => {
  const quotient = value / by
  if (quotient * by === value) return quotient
  return value < 0n ? quotient - 1n : quotient + 1n
}

const scaleOf = (suffix: string): { readonly exponent: number; readonly factor: bigint; readonly format: QuantityFormat } => {
  if (isKeyOf(binaryPowers, suffix)) return { exponent: 0, factor: 1024n ** binaryPowers[suffix], format: 'binary-si' }
  if (isKeyOf(decimalExponents, suffix)) return { exponent: decimalExponents[suffix], factor: 1n, format: 'decimal-si' }
  if (suffix === '') return { exponent: 0, factor: 1n, format: 'decimal-si' }
  return { exponent: Number(suffix.slice(1)), factor: 1n, format: 'decimal-exponent' }
}

const tryParse = (quantity: Quantity): ParsedQuantity | undefined => {
  const match = pattern.exec(String(quantity))
  if (match === null) return undefined
  const [, sign, whole = '', fraction = '', suffix = ''] = match
  if (whole === '' && fraction === '') return undefined
  const { exponent, factor, format } = scaleOf(suffix)
  const digits = BigInt(whole + fraction) * factor
  const power = 9 + exponent - fraction.length
  // 10^40 of anything is past the cap already, and 10^-60 of anything that fits a line rounds to the finest amount
  const amount = power >= 0 ? digits * 10n ** BigInt(Math.min(power, 40)) : divideUp(digits, 10n ** BigInt(-power))
  return { nano: clamp(sign === '-' ? -amount : amount), format }
}

/** True when it can be read as a quantity. */
export const isQuantity = (value: unknown): value is Quantity =>
  (typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value))) && tryParse(value) !== undefined

/**
 * Reads a quantity exactly.
 * @throws Fault `bad-manifest` naming the text when it is none
 */
export const parseQuantity = (quantity: Quantity): ParsedQuantity => {
  const parsed = tryParse(quantity)
  if (parsed !== undefined) return parsed
  throw new Fault(
    'bad-manifest',
    `${JSON.stringify(quantity)} is not a quantity: want a number with at most one suffix, as 500m, 2, 1.5Gi`,
    {
      retry: 'never',
    },
  )
}

/** Thousandths of the unit, rounded up: millicores of a cpu quantity. Exact below 2^53. */
export const toMilli = (quantity: Quantity): number => Number(divideUp(parseQuantity(quantity).nano, billion / 1000n))

/** Whole units, rounded up: bytes of a memory quantity, count of an extended resource. Exact below 2^53. */
export const toBytes = (quantity: Quantity): number => Number(divideUp(parseQuantity(quantity).nano, billion))

/** Negative when `a` is the smaller amount, 0 when they are equal however they are written, else positive. */
export const compareQuantities = (a: Quantity, b: Quantity): number => {
  const difference = parseQuantity(a).nano - parseQuantity(b).nano
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

/** The sum, written in the first one's family of suffixes; `0` when there are none. */
export const sumQuantities = (quantities: readonly Quantity[]): Quantity => {
  const parsed = quantities.map(parseQuantity)
  const nano = parsed.reduce((sum, one) => sum + one.nano, 0n)
  return write({ nano: clamp(nano), format: parsed[0]?.format ?? 'decimal-si' })
}

const trimZeros = (value: bigint, exponent: number, step: bigint, width: number, last: number): [bigint, number] => {
  let [mantissa, power] = [value, exponent]
  while (power < last && mantissa % step === 0n) [mantissa, power] = [mantissa / step, power + width]
  return [mantissa, power]
}

const write = ({ nano, format }: ParsedQuantity): string => {
  if (nano === 0n) return '0'
  const small = nano > -1024n * billion && nano < 1024n * billion
  if (format === 'binary-si' && !small && nano % billion === 0n) {
    const [mantissa, power] = trimZeros(nano / billion, 0, 1024n, 1, 6)
    return `${mantissa}${['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'][power]}`
  }
  const [mantissa, exponent] = trimZeros(nano, -9, 1000n, 3, 18)
  if (format === 'decimal-exponent') return exponent === 0 ? `${mantissa}` : `${mantissa}e${exponent}`
  return `${mantissa}${['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'][exponent / 3 + 3]}`
}

/**
 * The canonical form, as the apiserver writes it: no fraction, the largest suffix that loses nothing.
 * @throws Fault `bad-manifest` when it is no quantity
 */
export const formatQuantity = (quantity: Quantity): string => write(parseQuantity(quantity))
