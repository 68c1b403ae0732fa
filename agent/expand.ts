// $(NAME) references in commands, arguments, environment values and subPathExpr. Pure.
// Follows k8s.io: third_party/forked/golang/expansion: `$$` is a dollar, a reference to nothing known stays as it is,
// and a reference that is not closed is plain text.
import type { KeyValue } from '../api/cri/types.ts'
import { Fault } from '../host/fault.ts'

/** What a name stands for; undefined leaves the reference in place. */
export type Lookup = (name: string) => string | undefined

/** Replaces the references of one text; what they stand for is not looked at again. */
export const expand = (text: string, lookup: Lookup): string =>
  text.replace(/\$(?:\$|\(([^)]*)\))/g, (reference: string, name: string | undefined) =>
    name === undefined ? '$' : (lookup(name) ?? reference),
  )

/** The environment of a container as text, by name. */
export const textOf = (env: readonly KeyValue[]): ReadonlyMap<string, string> =>
  new Map(env.map(({ key, value }) => [key, Buffer.from(value).toString('utf8')]))

/** A command or its arguments with the container's environment filled in. */
export const expandWords = (words: readonly string[], env: readonly KeyValue[]): string[] => {
  const values = textOf(env)
  return words.map(word => expand(word, name => values.get(name)))
}

/**
 * A subPathExpr with the container's environment filled in.
 * @throws Fault `container-config` naming the variables that are missing or empty, since these would change the folder
 */
export const expandSubPath = (expression: string, env: readonly KeyValue[]): string => {
  const values = textOf(env)
  const missing = new Set<string>()
  const path = expand(expression, name => {
    const value = values.get(name) ?? ''
    if (value === '') missing.add(name)
    return value
  })
  if (missing.size === 0) return path
  throw new Fault('container-config', `missing value for ${[...missing].sort().join(', ')}`, {
    reason: 'CreateContainerConfigError',
  })
}
