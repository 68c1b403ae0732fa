// A program for a node's namespace: answers a readiness probe as it is told, and measures by connections how long a Service takes to
// follow. Arguments: the address and port to answer at, the Service's address and port. Each line on stdin, `ready` or `unready`,
// is what it answers from then on; when the Service has followed, one line tells the milliseconds since the answer was sent.
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'

const [address = '', port = '', serviceAddress = '', servicePort = ''] = process.argv.slice(2)

let ready = false
let pending: (() => void) | undefined

const server = createServer((_, response) => {
  response.writeHead(ready ? 200 : 503).end()
  response.on('finish', () => {
    pending?.()
    pending = undefined
  })
})

const connects = () =>
  new Promise<boolean>(resolve => {
    const socket = connect({ host: serviceAddress, port: Number(servicePort) })
    const end = (outcome: boolean) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(outcome)
    }
    const timer = setTimeout(() => end(false), 900)
    socket.on('connect', () => end(true)).on('error', () => end(false))
  })

const follow = async () => {
  const answeredAt = performance.now()
  while ((await connects()) !== ready) await new Promise(resolve => setTimeout(resolve, 1))
  process.stdout.write(`${(performance.now() - answeredAt).toFixed(1)}\n`)
}

createInterface(process.stdin).on('line', line => {
  ready = line === 'ready'
  pending = follow
})
server.listen(Number(port), address, () => process.stdout.write('listening\n'))
