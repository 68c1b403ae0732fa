// The files that fileKeyRef reads: NAME='value' lines, a strict subset of what a POSIX shell would take. Pure.
// Follows k8s.io: KEP-3721 (Define Container Environment Variables Using Files); pkg/kubelet/util/env.
import { Fault } from '../host/fault.ts'

const wrong = (line: number, what: string): Fault =>
  new Fault('container-config', `couldn't parse env file: line ${line}: ${what}`, { reason: 'CreateContainerConfigError' })

/** The quoted text that starts at lines[at] after `rest`'s opening quote, and the line on which it ends. */
const quoted = (lines: readonly string[], at: number, rest: string): { readonly value: string; readonly end: number } => {
  let value = ''
  let end = at
  for (let text: string | undefined = rest; text !== undefined; text = lines[end]) {
    const close = text.indexOf("'")
    if (close >= 0) {
      const after = text.slice(close + 1).replace(/^[ \t]+/, '')
      if (after !== '' && !after.startsWith('#')) throw wrong(end + 1, 'unexpected content after closing quote')
      return { value: value + text.slice(0, close), end }
    }
    value += `${text}\n`
    end++
  }
  throw wrong(at + 1, 'unclosed single quote')
}

/**
 * The value of one variable of such a file; lines after it are not looked at.
 * @returns undefined when the file does not set it; '' also where white space stands between `=` and the value
 * @throws Fault `container-config` naming the first line that is not of the format
 */
export const envFileValue = (content: string, key: string): string | undefined => {
  const lines = content.split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  for (let at = 0; at < lines.length; at++) {
    const line = (lines[at] ?? '').replace(/^[ \t]+/, '')
    if (line === '' || line.startsWith('#')) continue
    const equals = line.indexOf('=')
    if (equals < 0) throw wrong(at + 1, "missing '='")
    const name = line.slice(0, equals)
    if (name.trim() === '') throw wrong(at + 1, 'empty variable name')
    if (/[ \t]$/.test(name)) throw wrong(at + 1, "whitespace before '=' is not allowed")
    const rest = line.slice(equals + 1)
    if (/^[ \t]/.test(rest)) {
      if (name === key) return ''
      continue
    }
    if (!rest.startsWith("'")) throw wrong(at + 1, 'value must be enclosed in single quotes')
    const { value, end } = quoted(lines, at, rest.slice(1))
    if (name === key) return value
    at = end
  }
  return undefined
}
