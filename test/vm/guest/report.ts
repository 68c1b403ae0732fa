// How a check in the VM tells the host what came of it: `ok NAME`, or `not ok NAME: WHY` with the rest of the reason in indented
// lines below. test/vm/debian.itest.ts makes assertions of these lines; every other line is for people.
import { inspect } from 'node:util'

export const say = (text: string): void => void process.stdout.write(`${text}\n`)

const indent = (text: string) => text.trimEnd().replaceAll(/^/gm, '    ')

const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return inspect(error)
  const cause = error.cause === undefined ? '' : `\nbecause of ${reasonOf(error.cause)}`
  return `${error.message}${cause}`
}

/**
 * Runs one check and tells the result; a failure does not keep the others from running.
 * @returns whether it held
 */
export const check = async (name: string, body: () => Promise<unknown>): Promise<boolean> => {
  const started = performance.now()
  try {
    await body()
    say(`ok ${name}`)
    say(`  ${((performance.now() - started) / 1000).toFixed(1)} s`)
    return true
  } catch (error) {
    const [first = '', ...rest] = reasonOf(error).split('\n')
    say(`not ok ${name}: ${first}`)
    if (rest.length > 0) say(indent(rest.join('\n')))
    return false
  }
}
