// Manifests as tests of this folder write them, and what is wrong with them in one line each.
import type t from 'tap'
import { parse } from 'yaml'
import { readManifest } from './manifest.ts'
import { describeProblem } from './problem.ts'

export const problemsOf = (value: unknown): readonly string[] => (readManifest(value).problems ?? []).map(describeProblem)

/** A pod whose only container and whose spec have these fields besides. */
export const pod = (container: string, spec = '', metadata = ''): unknown =>
  parse(`
apiVersion: v1
kind: Pod
metadata: {name: web${metadata && `, ${metadata}`}}
spec:
  containers: [{name: main, image: 'web:1'${container && `, ${container}`}}]
${spec
  .split('\n')
  .map(line => `  ${line}`)
  .join('\n')}
`)
export const service = (spec: string): unknown => parse(`{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {${spec}}}`)

/** Problems as a table: a name that says what is given, a manifest, and what is told about it, all of it and no more. */
export type ProblemCases = [string, unknown, (string | RegExp)[]][]

export const areProblems = (test: typeof t, cases: ProblemCases): void => {
  for (const [name, given, expected] of cases) {
    test.test(`${name} is a problem`, async t => {
      const found = problemsOf(given)
      t.match(found, expected, { diffContext: 5 })
      t.equal(found.length, expected.length, found.join('\n'))
    })
  }
}
