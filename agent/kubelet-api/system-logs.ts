// /logs/: the files of /var/log, as a list and one by one. What is not below that folder is not there, whatever links lead to.
// Follows Go's http.FileServer where clients see it: a folder's list as links, a redirect to the slash, ranges are not served.
import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, readdir } from 'node:fs/promises'
import { isErrno } from '../../host/errno.ts'
import { isFault } from '../../host/fault.ts'
import { openInside, pathAt } from '../../host/files.ts'
import { byText } from '../../host/order.ts'
import { type Answer, type Ask, refuse } from './answer.ts'

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' }
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, it => escapes[it] ?? it)

const listFolder = async (folder: FileHandle): Promise<Answer> => {
  const entries = await readdir(pathAt(folder), { withFileTypes: true })
  const names = entries.map(it => (it.isDirectory() ? `${it.name}/` : it.name)).sort(byText)
  const links = names.map(it => `<a href="${encodeURIComponent(it).replaceAll('%2F', '/')}">${escapeHtml(it)}</a>`)
  const body = `<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n${links.map(it => `${it}\n`).join('')}</pre>\n`
  return { status: 200, type: 'text/html; charset=utf-8', body }
}

const sendFile = async (found: FileHandle, stat: Stats): Promise<Answer> => {
  const headers = {
    'Content-Length': String(stat.size),
    'Last-Modified': stat.mtime.toUTCString(),
    'X-Content-Type-Options': 'nosniff',
  }
  const answer = { status: 200, type: 'text/plain; charset=utf-8', headers }
  if (stat.size === 0) return { ...answer, body: '' }
  const file = await open(pathAt(found), constants.O_RDONLY)
  // As long as it was when it was asked for: a log that is being written to has no end.
  return { ...answer, body: file.createReadStream({ start: 0, end: stat.size - 1 }) }
}

/** @param root /var/log */
export const serveSystemLogs = async ({ path, segments }: Ask, root: string): Promise<Answer> => {
  const inside = segments.slice(1).join('/')
  let found: FileHandle
  try {
    found = await openInside(root, inside)
  } catch (error) {
    if (isFault(error, 'io', 'not-found') || isErrno(error, 'ENOENT', 'ENOTDIR')) return refuse(404, '404 page not found\n')
    throw error
  }
  try {
    const stat = await found.stat()
    if (stat.isDirectory()) {
      if (!path.endsWith('/')) return { ...refuse(301, ''), headers: { Location: `${segments.at(-1)}/` } }
      return await listFolder(found)
    }
    // A pipe would wait for somebody who writes, a device may do anything.
    if (!stat.isFile() || path.endsWith('/')) return refuse(404, '404 page not found\n')
    return await sendFile(found, stat)
  } finally {
    await found.close()
  }
}
