// One configuration from its file, its drop-ins and its flags: shape, defaults and rules, with every problem traced to who said it.
import { type GenericSchema, safeParse } from 'valibot'
import { type Problem, type Report, stepsOf, toProblems } from '../validate/problem.ts'
import { badConfig, describeProblems, type Fields, mergeFields } from './document.ts'

/** What one source says, and how to name it: a file's path, or a flag for each field. */
export interface Layer {
  readonly fields: Fields
  readonly origin: string | ReadonlyMap<string, string>
  /** Top-level fields that are not merged with those below but take their place. */
  readonly replaces?: readonly string[]
}

export interface Recipe<Raw, Whole> {
  readonly schema: GenericSchema<unknown, Raw>
  readonly complete: (raw: Raw) => Whole
  readonly rules: (report: Report, whole: Whole, raw: Raw) => void
  /** What to call it where nobody said the field in question. */
  readonly name: string
}

/** Who said what stands at `path`: the last flag for it or a field around it, else the last file that has it, else nobody. */
const originFinder =
  (layers: readonly Layer[], fallback: string) =>
  (path: string): string => {
    const top = String(stepsOf(path)[0] ?? '')
    for (const { fields, origin } of layers.toReversed()) {
      if (typeof origin === 'string') {
        if (top in fields) return origin
        continue
      }
      for (const [field, flag] of origin)
        if (path === field || path.startsWith(`${field}.`) || path.startsWith(`${field}[`)) return flag
    }
    return layers.map(({ origin }) => origin).findLast(origin => typeof origin === 'string') ?? fallback
  }

/**
 * Puts the layers over each other, later over earlier, and reads the result.
 * @throws Fault `bad-config`: one line with every problem, each naming the flag or the file and field
 */
export const readLayers = <Raw, Whole>(
  layers: readonly Layer[],
  recipe: Recipe<Raw, Whole>,
): { readonly given: Fields; readonly whole: Whole } => {
  const given = layers.reduce<Fields>((under, { fields, replaces = [] }) => {
    const below = Object.fromEntries(Object.entries(under).filter(([field]) => !replaces.includes(field)))
    return mergeFields(below, fields)
  }, {})
  const originOf = originFinder(layers, recipe.name)
  const parsed = safeParse(recipe.schema, given)
  if (!parsed.success) throw badConfig(describeProblems(toProblems(parsed.issues), originOf))
  const whole = recipe.complete(parsed.output)
  const problems: Problem[] = []
  recipe.rules((path, value, message) => void problems.push({ path, value, message }), whole, parsed.output)
  if (problems.length > 0) throw badConfig(describeProblems(problems, originOf))
  return { given, whole }
}
