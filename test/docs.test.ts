// The documentation against what is there: links, files of the checkout and npm scripts that it names exist, and what it says that
// the program says stands in the program's sources.
import { existsSync, readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const pages = ['README.md', 'CHANGELOG.md', ...(await Array.fromAsync(glob('docs/*.md', { cwd: root }))).toSorted()]

const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')

const anchors = (page: string) => [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => anchorOf(heading))

t.test('links lead somewhere', async t => {
  for (const page of pages)
    for (const [, target = ''] of read(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : join(dirname(page), path)
      t.ok(existsSync(join(root, file)), `${page}: ${target}`)
      if (anchor !== undefined) t.ok(anchors(file).includes(anchor), `${page}: ${target}`)
    }
})

t.test('files of the checkout that are named are there', async t => {
  // what a build or a run makes
  const made = /^(dist|\.cache)\/|^docs\/benchmarks\.md$/
  for (const page of pages)
    for (const [, path = ''] of read(page).matchAll(
      /`((?:agent|api|bench|cli|cni|deploy|docs|host|probes|proxy|setup|test|vagrant)\/[\w./-]*)`/g,
    ))
      if (!made.test(path)) t.ok(existsSync(join(root, path)), `${page}: ${path}`)
})

t.test('npm scripts that are named exist', async t => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Readonly<Record<string, string>> }
  for (const page of pages)
    for (const [, name = ''] of read(page).matchAll(/npm run ([\w:]+)/g)) t.ok(name in scripts, `${page}: npm run ${name}`)
})

t.test('what the program is quoted with is in its sources', async t => {
  const sources = await Array.fromAsync(
    glob(['{agent,api,cli,cni,host,proxy,setup}/**/*.ts', 'bin/*', 'vagrant/**/*.sh'], { cwd: root }),
  )
  const said = sources
    .filter(it => !/\.(test|fake)\.ts$/.test(it))
    .map(read)
    .join('\n')
    .replaceAll(/\$\{[^}]*\}/g, '…')
  const symptoms = ['docs/troubleshooting.md', 'docs/join.md'].flatMap(page =>
    [...read(page).matchAll(/^\| ([^|]+) \|/gm)]
      .map(([, cell = '']) => cell)
      .filter(cell => !/kubeadm/.test(cell))
      .flatMap(cell => [...cell.matchAll(/`([^`]+)`/g)].map(([, quoted = '']) => [page, quoted] as const)),
  )
  for (const [page, quoted] of symptoms) {
    if (!/ /.test(quoted) || /^nodelet /.test(quoted)) continue
    // numbers, hashes and files are the machine's; what follows a colon is another part's
    const parts = quoted.split(/…|\.{3}|: |sha256|\bN\b|\b\d+\b|\S*\/\S*/).map(it => it.trim().replaceAll(/^[^\w]+|[^\w]+$/g, ''))
    for (const part of parts.filter(it => it.length > 5)) t.ok(said.includes(part), `${page}: ${quoted}: ${part}`)
  }
})
