// The words that the schemas are written in: mappings whose unknown fields are named, optional fields, numbers with ranges.
// Pure; used by the manifests' schemas here and by those of the configuration files.
import * as v from 'valibot'
import type { Quantity } from '../meta.ts'
import { isQuantity } from '../quantity.ts'

/** For `satisfies`: an entry for every field of the type, so that a field added to the type cannot be forgotten here. */
// biome-ignore lint/suspicious/noExplicitAny: any schema will do, the finished object schema is checked against the type
export type Fields<T> = { readonly [K in keyof T]-?: v.BaseSchema<any, any, any> }

/** A mapping of these fields and no others; every unknown field is one problem, with the closest known one. */
export const strict = <const E extends v.ObjectEntries>(entries: E): v.ObjectSchema<E, undefined> =>
  // valibot's strictObject stops at the first unknown field; a rest of nothing names them all. toProblems reads the message.
  v.objectWithRest(entries, v.never(Object.keys(entries).join(' '))) as unknown as v.ObjectSchema<E, undefined>

export const optional = v.exactOptional
export const text = v.string()
export const flag = v.boolean()
export const texts = v.array(text)
export const textMap = v.record(text, text)
/** A mapping that is passed on as it is. */
export const anyMapping = v.custom<object>(
  value => typeof value === 'object' && value !== null && !Array.isArray(value),
  'want a mapping of fields',
)
export const oneOf = v.picklist

/** A whole number of this range. */
export const whole = (least: number = -(2 ** 31), most: number = 2 ** 31 - 1): v.GenericSchema<number> =>
  v.custom<number>(
    value => typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most,
    least === -(2 ** 31) || least === Number.MIN_SAFE_INTEGER
      ? 'want a whole number'
      : `want a whole number from ${least} to ${most}`,
  )
export const int32 = whole()
export const int64 = whole(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
export const quantity = v.custom<Quantity>(isQuantity, 'want a quantity such as 500m, 2 or 1.5Gi')
export const quantities = v.record(text, quantity)
export const intOrString = v.custom<number | string>(
  value => typeof value === 'string' || (typeof value === 'number' && Number.isInteger(value)),
  'want a whole number or a name',
)
