// A program for a node's namespace: a name server of the world outside, which knows `outside.example.com` (198.51.100.7) and nobody
// else. The argument is the address to answer at, on port 53.
import { createSocket } from 'node:dgram'
import { decode, encode } from 'dns-packet'

const socket = createSocket('udp4')
socket.on('message', (message, from) => {
  const { id = 0, questions = [] } = decode(message)
  const known = questions[0]?.name.toLowerCase() === 'outside.example.com'
  const answers =
    known && questions[0]?.type === 'A'
      ? [{ type: 'A', name: 'outside.example.com', ttl: 60, data: '198.51.100.7' } as const]
      : []
  // Bits 7 and 8: recursion is available; the lowest four: the answer's code, 3 for a name that is not there.
  const flags = 0x0180 | (known ? 0 : 3)
  socket.send(encode({ type: 'response', id, flags, questions, answers }), from.port, from.address)
})
socket.bind(53, process.argv[2])
