// Figures as a table in Markdown. Pure.
import { type Figure, isMet, ratioOf } from './figure.ts'

const number = (value: number): string => (value < 10 ? value.toFixed(1) : String(Math.round(value)))

const bound = ({ atMost, under, unit }: Figure): string => {
  if (atMost !== undefined) return `at most ${Number(atMost.toFixed(2))}`
  return under === undefined ? '' : `under ${under} ${unit}`
}

const verdict = (figure: Figure): string => {
  const met = isMet(figure)
  if (met === undefined) return ''
  return met ? 'ok' : 'not'
}

const row = (figure: Figure): readonly string[] => {
  const { figure: name, unit, ours, peer, theirs, note } = figure
  const ratio = ratioOf(figure)
  return [
    note === undefined ? name : `${name} (${note})`,
    `${number(ours)} ${unit}`,
    theirs === undefined ? '' : `${number(theirs)} ${unit}, ${peer}`,
    ratio === undefined ? '' : ratio.toFixed(2),
    bound(figure),
    verdict(figure),
  ]
}

/** A row for each figure, in the order given. */
export const toTable = (figures: readonly Figure[]): string => {
  const head = ['figure', 'nodelet', 'theirs', 'ratio', 'must be', '']
  const lines = [head, head.map(() => '---'), ...figures.map(row)]
  return lines.map(cells => `| ${cells.join(' | ')} |`).join('\n')
}
