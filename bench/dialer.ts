// The client of the Service benchmarks, a program of its own inside a node's network namespace. Started with `serve` it is two endpoints
// there instead, which say who they are. The client takes one order as JSON a line on stdin, answers with one JSON a line. Times are of the machine's monotonic clock,
// which all processes share.
import { connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

export type Order =
  /** Dials until somebody accepts, or `name` does. Answer: when. */
  | { readonly do: 'until'; readonly host: string; readonly port: number; readonly name?: string }
  /** Dials one after the other until `name` was not met for `rounds` dials. Answer: when it was met last, 0 for never. */
  | { readonly do: 'without'; readonly host: string; readonly port: number; readonly name: string; readonly rounds: number }
  /** Dials one after the other until nobody accepts, and then until somebody does. Answer: how long nobody did, in milliseconds. */
  | { readonly do: 'gap'; readonly host: string; readonly port: number }
  /** Opens and ends connections for so long, some at a time. Answer: how many each second. */
  | { readonly do: 'rate'; readonly host: string; readonly port: number; readonly seconds: number }
  /** Opens so many each second until stopped. Answer at the end: how many, how many failed, and the slowest. */
  | { readonly do: 'load'; readonly host: string; readonly port: number; readonly perSecond: number; readonly seconds: number }
  /** The text behind a URL. */
  | { readonly do: 'get'; readonly url: string }

export interface Load {
  readonly requests: number
  readonly failed: number
  readonly slowestMs: number
}

/** Ports of the endpoints that this program plays, by name. */
export const endpointPorts = { a: 8080, b: 8081 } as const

const pollMs = 2
const inParallel = 16
const patienceMs = 500

/** A connection: what the other side said, undefined when nobody accepted in time. */
const dial = (host: string, port: number, isRead: boolean): Promise<string | undefined> => {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const socket: Socket = connect({ host, port, timeout: patienceMs })
  const end = (answer: string | undefined) => {
    resolve(answer)
    // By a reset: nothing of it waits for a minute, on either side.
    socket.resetAndDestroy()
  }
  socket.on('error', () => end(undefined)).on('timeout', () => end(undefined))
  if (isRead) socket.on('data', data => end(String(data)))
  else socket.on('connect', () => end(''))
  return promise
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

const rate = async (host: string, port: number, seconds: number): Promise<number> => {
  const end = performance.now() + seconds * 1000
  let count = 0
  const work = async () => {
    while (performance.now() < end) if ((await dial(host, port, false)) !== undefined) count += 1
  }
  await Promise.all(Array.from({ length: inParallel }, work))
  return count / seconds
}

// A first packet that nobody translates is lost, and the next one of that connection comes a second later: so many connections are tried.
const until = async (host: string, port: number, name: string | undefined): Promise<number> => {
  let answeredAt = 0
  const one = async () => {
    const answer = await dial(host, port, name !== undefined)
    if (answeredAt === 0 && answer !== undefined && (name === undefined || answer === name)) answeredAt = now()
  }
  while (answeredAt === 0) {
    void one()
    await pause(pollMs)
  }
  return answeredAt
}

const gap = async (host: string, port: number): Promise<number> => {
  let last = now()
  while ((await dial(host, port, false)) !== undefined) last = now()
  while ((await dial(host, port, false)) === undefined) await pause(pollMs)
  return now() - last
}

const now = () => Number(process.hrtime.bigint()) / 1e6

const load = async (host: string, port: number, perSecond: number, seconds: number): Promise<Load> => {
  const pending: Promise<void>[] = []
  let [failed, slowestMs] = [0, 0]
  const began = performance.now()
  const one = async () => {
    const at = performance.now()
    if ((await dial(host, port, true)) === undefined) failed += 1
    slowestMs = Math.max(slowestMs, performance.now() - at)
  }
  for (let index = 0; index < perSecond * seconds; index++) {
    const due = began + (index * 1000) / perSecond
    if (due > performance.now()) await pause(due - performance.now())
    pending.push(one())
  }
  await Promise.all(pending)
  return { requests: pending.length, failed, slowestMs }
}

const orders = {
  until: ({ host, port, name }: Extract<Order, { do: 'until' }>) => until(host, port, name),
  without: async ({ host, port, name, rounds }: Extract<Order, { do: 'without' }>) => {
    let last = 0
    for (let since = 0; since < rounds; since++)
      if ((await dial(host, port, true)) === name) {
        last = now()
        since = 0
      }
    return last
  },
  gap: ({ host, port }: Extract<Order, { do: 'gap' }>) => gap(host, port),
  rate: ({ host, port, seconds }: Extract<Order, { do: 'rate' }>) => rate(host, port, seconds),
  load: ({ host, port, perSecond, seconds }: Extract<Order, { do: 'load' }>) => load(host, port, perSecond, seconds),
  get: async ({ url }: Extract<Order, { do: 'get' }>) => (await fetch(url)).text(),
} satisfies { [D in Order['do']]: (order: Extract<Order, { do: D }>) => Promise<unknown> }

const serve = () => {
  for (const [name, port] of Object.entries(endpointPorts))
    createServer(socket => socket.on('error', () => undefined).end(name)).listen(port)
}

const obeyInput = () =>
  createInterface({ input: process.stdin })
    .on('line', line => {
      const order = JSON.parse(line) as Order
      const obey = orders[order.do] as (order: Order) => Promise<unknown>
      void obey(order).then(answer => process.stdout.write(`${JSON.stringify(answer)}\n`))
    })
    .on('close', () => process.exit())

if (import.meta.main) {
  if (process.argv[2] === 'serve') serve()
  else obeyInput()
}
