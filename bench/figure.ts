// One measured figure: ours beside the Go program's, what it must be, and whether it is. Benchmarks print figures as JSON lines,
// bench/run.ts gathers them into the table.

export interface Figure {
  readonly figure: string
  readonly unit: 'ms' | 's' | 'MB' | 'requests'
  readonly ours: number
  /** Which program the other side is; both are absent when the bound is absolute. */
  readonly peer?: string
  readonly theirs?: number
  /** At most this much of the peer's. */
  readonly atMost?: number
  /** Under this, in the figure's unit. */
  readonly under?: number
  /** How many measurements each median is of. */
  readonly of?: number
  /** What else is worth knowing of the measurement. */
  readonly note?: string
}

/** The value that a share `p` (0 to 1) of the values does not exceed. @throws when there are none */
export const percentile = (values: readonly number[], p: number): number => {
  const found = values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))]
  if (found === undefined) throw new Error('nothing was measured')
  return found
}

export const median = (values: readonly number[]): number => percentile(values, 0.5)

export const ratioOf = ({ ours, theirs }: Figure): number | undefined => (theirs === undefined ? undefined : ours / theirs)

/** Whether the figure is what it must be; undefined when nothing is asked of it. */
export const isMet = (figure: Figure): boolean | undefined => {
  const { atMost, under, ours } = figure
  const ratio = ratioOf(figure)
  if (atMost !== undefined) return ratio !== undefined && ratio <= atMost
  return under === undefined ? undefined : ours < under
}

export const isFigure = (line: object): line is Figure => 'figure' in line && 'ours' in line

/** Hands a figure to whoever reads this program's output. */
export const print = (figure: Figure): void => {
  process.stdout.write(`${JSON.stringify(figure)}\n`)
}
