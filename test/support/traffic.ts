// A program for either end of a connection that is to outlive everything else: `serve PORT` echoes; `stream ADDRESS PORT` keeps one
// connection and asks for an echo every 20 ms; `knock ADDRESS PORT` opens a new connection every millisecond. Both ends that ask print
// a line for everything that went wrong, and `done N` with the number of good answers at SIGTERM.
import { connect, createServer } from 'node:net'

const say = (line: string) => process.stdout.write(`${line}\n`)
const patienceMs = 5_000
process.stdout.on('error', () => process.exit(1))

const serve = (port: number) =>
  createServer({ noDelay: true }, socket => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
    // A busy machine may leave this process waiting longer than the usual 511 knocks take.
  }).listen({ port, host: '::', backlog: 4_096 })

const stream = (host: string, port: number) => {
  let good = 0
  const socket = connect({ host, port, noDelay: true })
  const silent = () => say(`no echo for ${patienceMs} ms after ${good}`)
  let timer = setTimeout(silent, patienceMs)
  let next: NodeJS.Timeout | undefined
  const ask = () => socket.write(`${good}\n`)
  socket.on('connect', () => {
    say('connected')
    ask()
  })
  socket.on('data', () => {
    good += 1
    clearTimeout(timer)
    timer = setTimeout(silent, patienceMs)
    next = setTimeout(ask, 20)
  })
  socket.on('error', (error: NodeJS.ErrnoException) => say(`dropped: ${error.code}`))
  socket.on('close', () => say(`closed after ${good}`))
  return () => {
    clearTimeout(timer)
    clearTimeout(next)
    socket.removeAllListeners('close')
    socket.destroy()
    return good
  }
}

const knock = (host: string, port: number) => {
  let good = 0
  let under = 0
  const once = () => {
    under += 1
    let ended = false
    const socket = connect({ host, port })
    const end = (problem?: string) => {
      clearTimeout(timer)
      if (ended) return
      ended = true
      under -= 1
      socket.resetAndDestroy()
      if (problem === undefined) good += 1
      else say(`${problem} at ${Date.now()}`)
    }
    // The first SYN that is lost is sent again after a second: that is a gap too.
    // Timers come before answers when this process itself was kept waiting: one more turn for those.
    const timer = setTimeout(() => setImmediate(() => setImmediate(() => end('timeout'))), 900)
    socket.on('connect', () => end())
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error'))
  }
  const began = performance.now()
  let sent = 0
  const timer = setInterval(() => {
    // A late timer makes up for what it missed, within reason.
    for (const due = performance.now() - began; sent < due && under < 200; sent++) once()
    sent = Math.max(sent, Math.floor(performance.now() - began) - 50)
  }, 1)
  say('knocking')
  return () => {
    clearInterval(timer)
    return good
  }
}

const [, , mode, ...args] = process.argv
if (mode === 'serve') serve(Number(args[0]))
else {
  const end = (mode === 'stream' ? stream : knock)(args[0] ?? '', Number(args[1]))
  process.once('SIGTERM', () => {
    const good = end()
    // What is under way may still fail.
    setTimeout(() => {
      say(`done ${good}`)
      process.exit(0)
    }, 1_000)
  })
}
