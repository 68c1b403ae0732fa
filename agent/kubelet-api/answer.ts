// What a path of the kubelet API is asked and what it answers, as values: the same for TLS, the read-only port and upgrades.
// Only shapes and the few answers that many paths share; http.ts writes them to a connection.

/** A request as its path sees it. */
export interface Ask {
  readonly method: string
  /** Decoded, without a query. */
  readonly path: string
  /** The path's parts, decoded: `['containerLogs', 'default', 'web', 'c']`. A slash at the end is an empty last part. */
  readonly segments: readonly string[]
  readonly query: URLSearchParams
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** Aborts when the client has gone away. */
  readonly signal: AbortSignal
}

export interface Answer {
  readonly status: number
  /** `text/plain; charset=utf-8` when not given. */
  readonly type?: string
  readonly headers?: Readonly<Record<string, string>>
  /** What comes piece by piece is sent as it comes, its headers at once. */
  readonly body: string | Uint8Array | AsyncIterable<Uint8Array>
}

export type Handler = (ask: Ask) => Answer | Promise<Answer>

/** A plain text, as the kubelet refuses. */
export const refuse = (status: number, body: string): Answer => ({ status, body })

export const json = (value: object): Answer => ({ status: 200, type: 'application/json', body: JSON.stringify(value) })

/** go-restful's words, which the kubelet answers with. */
export const notFound: Answer = refuse(404, '404: Page Not Found')
export const methodNotAllowed: Answer = refuse(405, '405: Method Not Allowed')

/**
 * The parts of a request's target; undefined when it is none that can be served: not a path, badly encoded, or with parts that
 * would mean another path to whoever decodes or cleans it again.
 */
export const parseTarget = (target: string): Pick<Ask, 'path' | 'segments' | 'query'> | undefined => {
  const at = target.indexOf('?')
  const path = at < 0 ? target : target.slice(0, at)
  if (!path.startsWith('/')) return undefined
  let segments: string[]
  try {
    segments = path.slice(1).split('/').map(decodeURIComponent)
  } catch {
    return undefined
  }
  const isOdd = (it: string, i: number) => it === '.' || it === '..' || /[/\0]/.test(it) || (it === '' && i < segments.length - 1)
  if (segments.some(isOdd)) return undefined
  return { path: `/${segments.join('/')}`, segments, query: new URLSearchParams(at < 0 ? '' : target.slice(at + 1)) }
}
