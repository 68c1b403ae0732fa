// One spelling for a rule, whether it is as we write it or as iptables-save prints it: options in order, defaults left out, numbers and
// addresses in one form. Pure. Knows the options that our rules have; others are taken as they are.
import { bitsOf, parseCidr } from '../../host/address.ts'

/** The words of a rule; a quoted text is one word. */
export const wordsOf = (rule: string): readonly string[] =>
  [...rule.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, plain = '']) => quoted ?? plain)

interface Option {
  readonly name: string
  readonly negated: boolean
  readonly values: readonly string[]
}

const optionsOf = (rule: string): readonly Option[] => {
  const options: { name: string; negated: boolean; values: string[] }[] = []
  let negated = false
  for (const word of wordsOf(rule))
    if (word === '!') negated = true
    else if (/^--?[a-z]/.test(word)) {
      options.push({ name: word, negated, values: [] })
      negated = false
    } else options.at(-1)?.values.push(word)
  return options
}

const range = (text: string): string =>
  parseCidr(text.includes('/') ? text : `${text}/${bitsOf[text.includes(':') ? 'IPv6' : 'IPv4']}`)?.text ?? text

const hex = (text: string): string => text.replace(/0x0*([0-9a-f]+)/gi, (_, digits: string) => `0x${digits.toLowerCase()}`)

const everywhere = new Set(['0.0.0.0/0', '::/0'])
const defaultReject = new Set(['icmp-port-unreachable', 'icmp6-port-unreachable'])

/** Undefined for what iptables-save may leave out, or add. */
const spell = ({ name, values: [value = '', ...more] }: Option): string | undefined => {
  switch (name) {
    // A match is known by its options.
    case '-m':
    case '--mask':
    case '--rsource':
      return undefined
    case '-s':
    case '-d':
      return everywhere.has(range(value)) ? undefined : `${name} ${range(value)}`
    case '--or-mark':
      return `--set-xmark ${hex(value)}/${hex(value)}`
    case '--xor-mark':
      return `--set-xmark ${hex(value)}/0x0`
    case '--set-xmark':
    case '--mark':
      return `${name} ${hex(value)}`
    case '--reject-with':
      return defaultReject.has(value) ? undefined : `${name} ${value}`
    case '--probability':
      // The kernel's number has 31 bits, which is what both texts are rounded from and to.
      return `${name} ${Math.round(Number(value) * 2 ** 31)}`
    case '--ctstate':
      return `${name} ${value.split(',').sort().join(',')}`
    default:
      return [name, value, ...more].join(' ').trimEnd()
  }
}

/** The same text for the same rule, however it is written; without `-A` and the chain. */
export const spelling = (rule: string): string =>
  optionsOf(rule)
    .map(option => {
      const text = spell(option)
      return text !== undefined && option.negated ? `! ${text}` : text
    })
    .filter(text => text !== undefined)
    .sort()
    .join(' ')
