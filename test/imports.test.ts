// The shape of the source, held by a test: who may import whom, no cycles, one owner for processes, time, logging and gRPC,
// small files that say what they own, and an explanation for every fault.
import { existsSync, readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { faultCodes } from '../host/fault.ts'

const root = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const isTest = (path: string) => /\.(test|itest|fake)\.ts$/.test(path) || /^(test|bench)\//.test(path)

interface Import {
  readonly from: string
  readonly typeOnly: boolean
}

// Comments and strings may speak of imports; only statements at the beginning of a line and import() calls count.
const importsOf = (text: string): readonly Import[] => {
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?(?:[^'"();]*?\sfrom\s+)?'([^']+)'/gm)
  const calls = text.matchAll(/(?<![\w.'"`])import\('([^']+)'\)/g)
  return [
    ...[...statements].map(([, type, from = '']) => ({ from, typeOnly: type !== undefined })),
    ...[...calls].map(([, from = '']) => ({ from, typeOnly: false })),
  ]
}

const folders = ['agent', 'api', 'bench', 'cli', 'cni', 'deploy', 'host', 'probes', 'proxy', 'setup', 'test', 'vagrant']
const paths = (
  await Array.fromAsync(
    glob(
      folders.map(it => `${it}/**/*.ts`),
      { cwd: root },
    ),
  )
).sort()
const sources = paths.filter(path => !isTest(path))

interface Source {
  readonly path: string
  readonly text: string
  readonly imports: readonly Import[]
}
const files = new Map<string, Source>(
  paths.map(path => {
    const text = read(path)
    return [path, { path, text, imports: importsOf(text) }]
  }),
)
const fileOf = (path: string): Source => files.get(path)!
const target = (path: string, from: string) => normalize(join(dirname(path), from))
const zoneOf = (path: string) => path.split('/')[0] ?? ''

// What a folder may import beside itself: `types` only as types.
const allowed: Readonly<Record<string, { readonly values: readonly string[]; readonly types?: readonly string[] }>> = {
  host: { values: [] },
  api: { values: ['host'] },
  cni: { values: ['host'] },
  probes: { values: ['host'], types: ['api'] },
  proxy: { values: ['api', 'host'] },
  agent: { values: ['api', 'host', 'probes'] },
  cli: { values: ['host'], types: ['agent', 'api'] },
  // what installs the program knows it from outside: by its files, its flags and its socket
  setup: { values: ['cli', 'host'] },
}
// Where the parts are put together.
const composers: Readonly<Record<string, readonly string[]>> = {
  'agent/main.ts': ['proxy', 'cni'],
  // the entry of the program: loads the one part that is asked for
  'cli/main.ts': ['agent', 'api', 'proxy', 'cni', 'setup'],
  'host/version.ts': ['package.json'],
}

const mayImport = (path: string, to: string, typeOnly: boolean): boolean => {
  const rule = allowed[zoneOf(path)]
  const zone = zoneOf(to)
  if (rule === undefined || zone === zoneOf(path)) return true
  return rule.values.includes(zone) || (typeOnly && (rule.types ?? []).includes(zone)) || (composers[path] ?? []).includes(zone)
}

t.test('imports go one way between the folders', async t => {
  const wrong = sources.flatMap(path =>
    fileOf(path)
      .imports.filter(({ from, typeOnly }) => from.startsWith('.') && !mayImport(path, target(path, from), typeOnly))
      .map(({ from }) => `${path} imports ${target(path, from)}`),
  )
  t.same(wrong, [])
})

t.test('a package that is loaded late is taken by its default: a bundle knows CommonJS by no other name', async t => {
  const late = /.*\bimport\('(?!\.|node:)[^']+'\).*/g
  const byDefault = /\{ default: \w+ \} = await import\(|\(await import\('[^']+'\)\)\.default\b/
  const wrong = sources.flatMap(path =>
    (fileOf(path).text.match(late) ?? []).filter(line => !byDefault.test(line)).map(line => `${path}: ${line.trim()}`),
  )
  t.same(wrong, [])
})

t.test('no file imports itself through others', async t => {
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (path: string, trail: readonly string[]) => {
    if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '))
    if (done.has(path) || trail.includes(path)) return
    for (const { from } of files.get(path)?.imports ?? []) {
      if (from.startsWith('.')) visit(target(path, from), [...trail, path])
    }
    done.add(path)
  }
  for (const path of paths) visit(path, [])
  t.same(cycles, [])
})

t.test('a program can be started, the clock read, a line logged and gRPC spoken in one place each', async t => {
  const owners: readonly (readonly [RegExp, readonly string[]])[] = [
    [/^(node:)?child_process$|^nano-spawn$|\/posix-spawn\.ts$/, ['host/exec.ts']],
    [/^node:ffi$/, []],
    // What it offers blocks this process, and some of it belongs in the places above.
    [/\/libc\.ts$/, ['host/posix-spawn.ts', 'host/enter-netns.ts', 'host/direct-mount.ts']],
    // loop.ts gives the event loop back, which is no notion of time.
    [/^(node:)?timers(\/|$)/, ['host/clock.ts', 'host/loop.ts']],
    [/^pino$/, ['host/log.ts']],
    [/^@grpc\//, ['probes/grpc.ts']],
    [/^protobufjs/, ['api/rpc.ts', 'api/compile-protos.ts']],
    [/^(node:)?http2$/, ['api/grpc-session.ts', 'api/grpc-call.ts']],
  ]
  for (const path of sources) {
    for (const { from, typeOnly } of fileOf(path).imports) {
      const owner = owners.find(([name]) => name.test(from))?.[1]
      if (owner !== undefined && !typeOnly && !owner.includes(path)) t.fail(`${path} imports ${from}, which belongs to ${owner}`)
    }
  }
  const timeOf = /\b(Date\.now|performance\.now|setTimeout|setInterval)\(|new Date\(\)/
  const clocks = sources.filter(
    path => /^(agent|api|cli|cni|host|probes|proxy|setup)\//.test(path) && timeOf.test(fileOf(path).text),
  )
  t.same(clocks, ['host/clock.ts'])
})

t.test('files are small, named for what they own, and open with it', async t => {
  // The objects of the Kubernetes API, field by field: there is nothing to understand between its lines.
  const listOfTypes = 'api/types.ts'
  const banned = /^(utils?|helpers?|common|manager|data|info|misc|shared|base|core)$/
  for (const path of paths) {
    const { text } = fileOf(path)
    const lines = text.split('\n').length - 1
    const limit = listOfTypes === path ? 600 : 400
    if (lines > limit) t.fail(`${path} has ${lines} lines, more than ${limit}`)
    const name = path.split('/').find(part => banned.test(part.replace(/(\.(test|itest|fake))?\.ts$/, '')))
    if (name !== undefined) t.fail(`${path}: "${name}" says nothing about what is in it`)
  }
  const mute = sources.filter(path => !/^(#!.*\n)?(\/\/ |\/\*\*)/.test(fileOf(path).text))
  t.same(mute, [], 'each file begins with a comment')
})

interface OpenFunction {
  readonly line: number
  readonly indent: number
  inner: number
}

// Biome lays the source out: what a line opens is closed by the next line of the same indentation that begins with a bracket.
const opensFunction = (line: string): boolean =>
  /(=>|\)|\): [^=]*) \{$/.test(line) &&
  !/^\s*(\} )?(if|else|for|while|switch|do|try|catch|finally|return|class|case)\b/.test(line)

/** Functions with more than `most` lines of their own: those of functions inside them, as in what createX returns, are theirs. */
const longFunctions = ({ path, text }: Source, most: number): readonly string[] => {
  const open: OpenFunction[] = []
  const long: string[] = []
  for (const [index, line] of text.split('\n').entries()) {
    const indent = line.search(/\S/)
    const last = open.at(-1)
    if (last !== undefined && indent <= last.indent && /^\s*[})\]]/.test(line)) {
      const lines = index - last.line + 1
      if (lines - last.inner > most) long.push(`${path}:${last.line + 1}: ${lines - last.inner} lines`)
      open.pop()
      const outer = open.at(-1)
      if (outer !== undefined) outer.inner += lines
    }
    // A branch of `? :` is closed two further in.
    if (opensFunction(line)) open.push({ line: index, indent: /^\s*[?:] /.test(line) ? indent + 2 : indent, inner: 0 })
  }
  return [...long, ...open.map(it => `${path}:${it.line + 1}: an end was not found`)]
}

t.test('functions are short', async t => {
  const all = (most: number) => sources.flatMap(path => longFunctions(fileOf(path), most))
  t.same(all(60), [])
  t.ok(all(20).length > 20, 'the measure finds functions at all')
})

t.test('modules keep no state of their own and leave nothing for later', async t => {
  t.same(
    sources.filter(path => /^(export )?(let|var) /m.test(fileOf(path).text)),
    [],
    'no let at the top of a module',
  )
  const later = new RegExp(['TO', 'DO|FIX', 'ME|XX', 'X'].join(''))
  t.same(
    paths.filter(path => later.test(fileOf(path).text.replaceAll(/X{4,}/g, ''))),
    [],
    'no notes to self',
  )
})

t.test('what calls itself pure imports nothing but types and what is pure', async t => {
  const isPure = (path: string) => /^(\/\/.*\n)*\/\/.*\b[Pp]ure\b(?! function of)/.test(files.get(path)?.text ?? '')
  const wrong = sources.filter(isPure).flatMap(path =>
    fileOf(path)
      .imports.filter(({ from, typeOnly }) => !typeOnly && /^node:(fs|child_process|http|https|dgram|os)\b/.test(from))
      .map(({ from }) => `${path} imports ${from}`),
  )
  t.same(wrong, [])
})

t.test('every fault is explained to users, and only those that exist', async t => {
  const page = 'docs/errors.md'
  if (!existsSync(join(root, page))) return t.pass('there is no such page yet')
  const explained = [...read(page).matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code)
  t.same(explained.toSorted(), Object.keys(faultCodes).toSorted())
})
