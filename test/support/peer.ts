// A program for one namespace of a test: serves TCP and UDP on a port, answering who it is and whom it sees, and sends what it is told
// to over a unix socket (which no namespace hides): one JSON line per attempt in, one per answer out.
// Run as `node peer.ts NAME SOCKET PORT`.
import { createSocket, type RemoteInfo } from 'node:dgram'
import { connect, createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { createInterface } from 'node:readline'

export interface PeerRequest {
  readonly id: number
  readonly protocol: 'TCP' | 'UDP'
  readonly to: string
  readonly port: number
  /** A fixed port of this side; 0 for a new one. */
  readonly fromPort: number
  readonly timeoutMs: number
}

export interface PeerAnswer {
  readonly id: number
  /** `NAME ADDRESS`: who answered, and what address it saw; or an error's code; or `timeout`. */
  readonly answer: string
}

const plain = (address = '') => address.replace(/^::ffff:/, '')

const serve = async (name: string, port: number) => {
  const answer = (address: string | undefined) => `${name} ${plain(address)}`
  const tcp = createServer(socket => {
    socket.on('error', () => undefined)
    socket.end(answer(socket.remoteAddress))
  })
  await new Promise<void>(resolve => tcp.listen(port, '::', resolve))
  // A socket per address: an answer must come from the address that was asked, which a host with several does not see to by itself.
  for (const { address, family } of Object.values(networkInterfaces()).flatMap(list => list ?? [])) {
    if (address.startsWith('fe80:')) continue
    const udp = createSocket({ type: family === 'IPv4' ? 'udp4' : 'udp6', ipv6Only: family === 'IPv6' })
    udp.on('message', (_: Buffer, from: RemoteInfo) => udp.send(answer(from.address), from.port, from.address))
    await new Promise<void>(resolve => udp.bind(port, address, resolve))
  }
}

const sendTcp = ({ to, port, fromPort, timeoutMs }: PeerRequest): Promise<string> =>
  new Promise(resolve => {
    const socket = connect({ host: to, port, ...(fromPort !== 0 && { localPort: fromPort }) })
    const timer = setTimeout(() => end('timeout'), timeoutMs)
    const end = (answer: string) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(answer)
    }
    socket.on('data', (data: Buffer) => end(data.toString()))
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error'))
  })

const sendUdp = ({ to, port, fromPort, timeoutMs }: PeerRequest): Promise<string> =>
  new Promise(resolve => {
    const socket = createSocket(to.includes(':') ? 'udp6' : 'udp4')
    const timer = setTimeout(() => end('timeout'), timeoutMs)
    const end = (answer: string) => {
      clearTimeout(timer)
      socket.close(() => resolve(answer))
    }
    socket.on('message', (data: Buffer) => end(data.toString()))
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error'))
    socket.bind(fromPort, () => socket.connect(port, to, () => socket.send('who')))
  })

const [, , name = '', control = '', port = '0'] = process.argv
await serve(name, Number(port))
createServer(socket => {
  createInterface({ input: socket }).on('line', line => {
    const request = JSON.parse(line) as PeerRequest
    void (request.protocol === 'TCP' ? sendTcp(request) : sendUdp(request)).then(answer => {
      socket.write(`${JSON.stringify({ id: request.id, answer } satisfies PeerAnswer)}\n`)
    })
  })
  socket.on('close', () => process.exit(0))
}).listen(control, () => console.log('ready'))
