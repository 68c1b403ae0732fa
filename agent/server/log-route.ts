// GET /v1/pods/NAMESPACE/NAME/log: a container's log as text, once or followed; parameters are those of the Kubernetes API.
// Finds the file and hands it to agent/logs.ts; the reader that goes away ends the following.
import { readdir } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Pod } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import { Fault } from '../../host/fault.ts'
import { type ReadOptions, readLog } from '../logs.ts'
import { findAttempt, findContainer, statusOf } from './find.ts'
import type { NodeView } from './view.ts'

/** A flag of a query: there without a value, or `true`. */
export const isSet = (query: URLSearchParams, name: string): boolean => ['', 'true', '1'].includes(query.get(name) ?? 'false')

const toNumber = (query: URLSearchParams, name: string): number | undefined => {
  const text = query.get(name)
  if (text === null || text === '') return undefined
  if (/^\d+$/.test(text)) return Number(text)
  throw new Fault('bad-config', `${name} must be a whole number and not negative, not "${text}"`, { retry: 'never' })
}

/** What a query asks of a log. @throws Fault `bad-config` that names the parameter */
export const toReadOptions = (query: URLSearchParams, now: number): ReadOptions => {
  const tailLines = toNumber(query, 'tailLines')
  const limitBytes = toNumber(query, 'limitBytes')
  const sinceSeconds = toNumber(query, 'sinceSeconds')
  const sinceTime = query.get('sinceTime')
  const since = sinceSeconds !== undefined ? now - sinceSeconds * 1000 : sinceTime !== null ? Date.parse(sinceTime) : undefined
  if (Number.isNaN(since)) throw new Fault('bad-config', `sinceTime must be RFC 3339, not "${sinceTime}"`, { retry: 'never' })
  return {
    timestamps: isSet(query, 'timestamps'),
    ...(tailLines !== undefined && { tailLines }),
    ...(limitBytes !== undefined && { limitBytes }),
    ...(since !== undefined && { since }),
  }
}

/** Answers with the log. @throws Fault before anything is sent; afterwards the connection just ends */
export const serveLog = async (
  pod: Pod,
  query: URLSearchParams,
  response: ServerResponse,
  { view, clock }: { readonly view: NodeView; readonly clock: Clock },
): Promise<void> => {
  const container = findContainer(pod, query.get('container') ?? undefined)
  const folder = join(view.logFolder(pod), container)
  const files = await readdir(folder).catch(() => [])
  const attempt = findAttempt(pod, container, isSet(query, 'previous'), files)
  const stop = new AbortController()
  response.on('close', () => stop.abort())
  const alive = () => {
    const now = view.pods().find(it => it.metadata.uid === pod.metadata.uid)
    const status = now && statusOf(now, container)
    return status?.state?.running !== undefined && status.restartCount === attempt
  }
  const follow = isSet(query, 'follow') ? { alive, clock, signal: stop.signal } : undefined
  const parts = readLog(join(folder, `${attempt}.log`), toReadOptions(query, clock.now()), follow)
  const first = await parts.next()
  response.writeHead(200, { 'Content-Type': 'text/plain' })
  response.flushHeaders()
  if (first.done) return void response.end()
  response.write(first.value)
  await pipeline(Readable.from(parts, { objectMode: false }), response)
}
