// An apiserver that tells what is in a file and nothing else: `told-apiserver.ts PORT FILE`, where the file has the objects of each path.
// For programs that only watch, in a namespace where no control plane is worth its start. A list is streamed, as of 1.32; what is sent
// to it (Events) is taken and forgotten.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'

const [, , port, file] = process.argv
const told = JSON.parse(readFileSync(file ?? '', 'utf8')) as Readonly<Record<string, readonly object[]>>

createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://told')
  const items = told[pathname]
  request.resume()
  if (request.method === 'POST') return void response.writeHead(201, { 'Content-Type': 'application/json' }).end('{}')
  if (items === undefined || searchParams.get('watch') !== 'true') return void response.writeHead(404).end()
  response.writeHead(200, { 'Content-Type': 'application/json' })
  const say = (type: string, object: object) => response.write(`${JSON.stringify({ type, object })}\n`)
  for (const item of items) say('ADDED', item)
  say('BOOKMARK', { metadata: { resourceVersion: '1', annotations: { 'k8s.io/initial-events-end': 'true' } } })
}).listen(Number(port), '127.0.0.1')
