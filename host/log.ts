// The log: one JSON object per line on stderr, or human text when stderr is a terminal. Levels follow --v as klog users know it:
// errors, warnings and infos always, debug from --v=4 on. Parts get a child that names them and never build their own.
import pino from 'pino'

export interface Log {
  error(fields: object, message: string): void
  warn(fields: object, message: string): void
  info(fields: object, message: string): void
  debug(fields: object, message: string): void
  child(fields: object): Log
}

export interface LogOptions {
  /** klog's verbosity; 4 and more show debug lines. */
  readonly verbosity: number
  readonly human: boolean
  readonly write: (line: string) => void
}

/** A log that hands finished lines (newline included) to `write`. */
export const createLog = ({ verbosity, human, write }: LogOptions): Log =>
  pino(
    {
      level: verbosity >= 4 ? 'debug' : 'info',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      serializers: { err: errorFields },
    },
    { write: line => write(human ? toHuman(line) : line) },
  )

/** A log that goes nowhere; for tests. */
export const silentLog: Log = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
  child: () => silentLog,
}

const errorFields = (error: unknown): unknown => {
  if (!(error instanceof Error)) return error
  const { code, object } = error as { code?: unknown; object?: unknown }
  const cause = error.cause === undefined ? undefined : errorFields(error.cause)
  return {
    message: error.message,
    ...(code !== undefined && { code }),
    ...(object !== undefined && { object }),
    ...(cause !== undefined && { cause }),
  }
}

const toHuman = (line: string): string => {
  const { time, level, msg, ...rest } = JSON.parse(line) as Record<string, unknown>
  const fields = Object.entries(rest).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return `${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${String(msg)}${fields.length > 0 ? `  ${fields.join(' ')}` : ''}\n`
}
