// The name servers that the node itself asks: its resolv.conf (resolver(5)), read again when it may have changed.
// Nothing but `nameserver` lines matters here: search domains and ndots are the business of who asks us.
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { canonicalAddress } from '../../../host/address.ts'
import type { Clock, Millis } from '../../../host/clock.ts'

export interface NameServer {
  readonly address: string
  readonly port: number
}

/** As many as the C library takes. */
const maxServers = 3
const rereadMs = 5_000

/** The addresses of a resolv.conf, in order. */
export const parseNameservers = (text: string): readonly string[] =>
  text
    .split('\n')
    .map(line => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter(address => isIP(address) !== 0)
    .slice(0, maxServers)

/**
 * Reads the file when asked, at most every 5 seconds; a file that cannot be read has no servers.
 * @param own addresses that lead back to us: never asked, whatever the file says
 */
export const createNameservers = (deps: {
  readonly path: string
  readonly clock: Pick<Clock, 'monotonic'>
  readonly own: readonly string[]
}): (() => Promise<readonly NameServer[]>) => {
  const own = new Set(deps.own.map(canonicalAddress))
  let known: { readonly at: Millis; readonly servers: Promise<readonly NameServer[]> } | undefined
  const read = async (): Promise<readonly NameServer[]> => {
    const text = await readFile(deps.path, 'utf8').catch(() => '')
    return parseNameservers(text)
      .filter(address => !own.has(canonicalAddress(address) ?? ''))
      .map(address => ({ address, port: 53 }))
  }
  return () => {
    const now = deps.clock.monotonic()
    if (known === undefined || now - known.at >= rereadMs) known = { at: now, servers: read() }
    return known.servers
  }
}
