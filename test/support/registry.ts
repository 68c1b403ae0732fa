// A program for a node's namespace: an image registry with one image, behind a password where one is given. Speaks as much of the OCI
// distribution specification as a pull needs. Arguments: address, port, the image as `skopeo copy … dir:FOLDER` lays it out, and
// optionally USER:PASSWORD. Says `listening` when it does, and each request it answers.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'

const [address = '', port = '', folder = '', password] = process.argv.slice(2)
const manifest = await readFile(join(folder, 'manifest.json'))
const digest = `sha256:${createHash('sha256').update(manifest).digest('hex')}`
const mediaType =
  (JSON.parse(String(manifest)) as { mediaType?: string }).mediaType ?? 'application/vnd.oci.image.manifest.v1+json'
const wanted = password && `Basic ${Buffer.from(password).toString('base64')}`

createServer(async (request, response) => {
  const { method, url = '', headers } = request
  const answer = (status: number, more: Record<string, string | number> = {}, body: Buffer | string = '') => {
    process.stdout.write(`${method} ${url} ${status}\n`)
    response.writeHead(status, { 'Content-Length': body.length, ...more }).end(method === 'HEAD' ? undefined : body)
  }
  if (wanted !== undefined && headers.authorization !== wanted) {
    return answer(401, { 'WWW-Authenticate': 'Basic realm="test"' }, '{"errors":[{"code":"UNAUTHORIZED"}]}')
  }
  if (url === '/v2/') return answer(200)
  if (/^\/v2\/image\/manifests\/(1|sha256:[0-9a-f]+)$/.test(url)) {
    return answer(200, { 'Content-Type': mediaType, 'Docker-Content-Digest': digest }, manifest)
  }
  const blob = /^\/v2\/image\/blobs\/sha256:([0-9a-f]{64})$/.exec(url)?.[1]
  const found = blob === undefined ? undefined : await stat(join(folder, blob)).catch(() => undefined)
  if (blob === undefined || found === undefined) return answer(404, {}, '{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
  process.stdout.write(`${method} ${url} 200\n`)
  response.writeHead(200, { 'Content-Length': found.size, 'Content-Type': 'application/octet-stream' })
  createReadStream(join(folder, blob)).pipe(response)
}).listen(Number(port), address, () => process.stdout.write('listening\n'))
