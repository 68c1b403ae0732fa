// A program for inside a namespace of a test: `listen PORT` answers TCP and UDP, IPv4 and IPv6, with the address that it was asked
// from and prints "listening"; `ask PROTOCOL ADDRESS PORT` asks once and prints the answer, or exits with 1 after half a second.
import { createSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'

const plain = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '')

const listen = (port: number) => {
  const udp = createSocket('udp6')
  udp.on('message', (_, from) => udp.send(plain(from.address), from.port, from.address))
  udp.bind(port, '::', () =>
    createServer(socket => {
      socket.on('error', () => undefined)
      socket.end(plain(socket.remoteAddress))
    }).listen(port, '::', () => console.log('listening')),
  )
}

const ask = (protocol: string, address: string, port: number) => {
  setTimeout(() => process.exit(1), 500)
  const answered = (text: string) => {
    console.log(text)
    process.exit(0)
  }
  if (protocol === 'tcp') {
    const socket = connect(port, address)
    socket.on('data', chunk => answered(String(chunk)))
    socket.on('error', () => process.exit(1))
    return
  }
  const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  udp.on('message', message => answered(String(message)))
  udp.on('error', () => process.exit(1))
  udp.send('who am I', port, address)
}

const [verb, ...args] = process.argv.slice(2)
if (verb === 'listen') listen(Number(args[0]))
else ask(args[0] ?? '', args[1] ?? '', Number(args[2]))
