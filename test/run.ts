// Runs the tests: `node test/run.ts unit|kernel|cri|…|all [filter]`. Unit tests lie beside their sources and run side by side; a
// ring is a folder here whose *.itest.ts run one after the other as root. After each of these the machine must be as before.
// The last line says `N passed, N failed`; the exit code is 1 when anything failed, was left behind, or when nothing ran.
import { randomBytes } from 'node:crypto'
import { glob, mkdir, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { findTraces, newTraces, removeTraces, type Trace } from './support/clean.ts'
import { runVariable, testPrefix } from './support/names.ts'
import { type FileOptions, type FileResult, runFile, runFiles } from './support/tap-file.ts'

const root = join(import.meta.dirname, '..')
const isCi = process.env['CI'] === 'true'
const run = randomBytes(2).toString('hex')

// Rings in the order in which their failures are easiest to understand; others follow by name.
const firstRings = ['kernel', 'cri', 'cluster']
const timeLimitsMs: Readonly<Record<string, number>> = {
  unit: 60_000,
  kernel: 120_000,
  cri: 180_000,
  cluster: 900_000,
  vm: 1_200_000,
}
const longestMs = 900_000

const say = (line: string) => process.stdout.write(`${line}\n`)

const unitFiles = async (): Promise<readonly string[]> =>
  Array.fromAsync(glob('**/*.test.ts', { cwd: root, exclude: path => /^(node_modules|dist|\.[^/]+)$/.test(path) }), path => path)

/** Files of every ring that has any, in order. */
const ringFiles = async (): Promise<ReadonlyMap<string, readonly string[]>> => {
  const rings = new Map<string, string[]>(firstRings.map(ring => [ring, []]))
  for (const path of (await Array.fromAsync(glob('test/*/*.itest.ts', { cwd: root }))).sort()) {
    const ring = path.split('/')[1] ?? ''
    rings.set(ring, [...(rings.get(ring) ?? []), path])
  }
  return rings
}

const report = (result: FileResult) => {
  const { path, passed, skipped, failures, ms } = result
  const mark = failures.length > 0 ? 'FAIL' : 'ok  '
  say(`${mark} ${(ms / 1000).toFixed(1).padStart(6)} s  ${path}  ${passed}${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  for (const failure of failures) say(`     ${failure}`)
  return result
}

const optionsOf = (ring: string): FileOptions => ({
  timeoutMs: timeLimitsMs[ring] ?? longestMs,
  env: {
    [runVariable]: run,
    TMPDIR: join(tmpdir(), `${testPrefix}${run}`),
    // The time limit is ours alone: tap's own of 30 s is shorter than a download may take.
    TAP_TIMEOUT: '0',
    // Compiled code is kept between files and runs, as bin/nodelet does.
    NODE_COMPILE_CACHE: join(root, '.cache/compiled'),
  },
})

/**
 * Runs files side by side, one process per core at a time. Several share one: starting it takes longer than most files' tests, and
 * modules keep no state by which one file could disturb another (imports.test.ts holds them to that).
 */
const runParallel = async (paths: readonly string[]): Promise<readonly FileResult[]> => {
  const results: FileResult[] = []
  const cores = availableParallelism()
  const count = Math.min(paths.length, cores * 4)
  const sorted = paths.toSorted()
  const queue = Array.from({ length: count }, (_, at) => sorted.filter((_, index) => index % count === at))
  const work = async () => {
    for (let files = queue.shift(); files !== undefined; files = queue.shift())
      await runFiles(files, optionsOf('unit'), result => results.push(report(result)))
  }
  await Promise.all(Array.from({ length: cores }, work))
  return results
}

const isAttributed = ({ kind, name }: Trace) => kind === 'process' || name.includes(`${testPrefix}${run}`)

/**
 * What a file left behind, taken away. Things without this run's token may belong to somebody else on a shared machine:
 * there they are only told; a CI machine is ours alone.
 */
const leaksOf = async (path: string, before: readonly Trace[]): Promise<readonly string[]> => {
  const found = newTraces(before, await findTraces(run))
  if (found.length === 0) return []
  // Killed processes and deferred unmounts take a moment.
  await new Promise(resolve => setTimeout(resolve, 500))
  const left = newTraces(before, await findTraces(run))
  const ours = left.filter(it => isCi || isAttributed(it))
  for (const { kind, name } of left.filter(it => !ours.includes(it))) say(`     seen beside ${path}: ${kind} ${name}`)
  await removeTraces(ours)
  return ours.map(({ kind, name }) => `${path}: left behind: ${kind} ${name}`)
}

/** Runs files one after the other, each between two looks at the machine. */
const runSerial = async (ring: string, paths: readonly string[]): Promise<readonly FileResult[]> => {
  const results: FileResult[] = []
  for (const path of paths) {
    if (process.getuid?.() !== 0) {
      say(`skip          ${path}  needs root`)
      results.push({ path, passed: 0, skipped: 1, failures: [], ms: 0 })
      continue
    }
    const before = await findTraces(run)
    const result = await runFile(path, optionsOf(ring))
    results.push(report({ ...result, failures: [...result.failures, ...(await leaksOf(path, before))] }))
  }
  return results
}

const main = async ([ring = 'all', filter = '']: readonly string[]): Promise<number> => {
  const rings = await ringFiles()
  if (!['unit', 'all', ...rings.keys()].includes(ring)) {
    say(`usage: node test/run.ts unit|${[...rings.keys()].join('|')}|all [filter]`)
    return 2
  }
  const wanted = (paths: readonly string[]) => paths.filter(path => path.includes(filter))
  const started = performance.now()
  await mkdir(join(tmpdir(), `${testPrefix}${run}`))
  const results: FileResult[] = []
  if (ring === 'unit' || ring === 'all') {
    const before = await findTraces(run)
    results.push(...(await runParallel(wanted(await unitFiles()))))
    results.push({ path: 'unit', passed: 0, skipped: 0, failures: await leaksOf('unit', before), ms: 0 })
  }
  for (const [name, paths] of rings) {
    if (ring === name || ring === 'all') results.push(...(await runSerial(name, wanted(paths))))
  }
  await rm(join(tmpdir(), `${testPrefix}${run}`), { recursive: true, force: true })

  const sum = (of: (it: FileResult) => number) => results.reduce((total, it) => total + of(it), 0)
  const [passed, failed, skipped] = [sum(it => it.passed), sum(it => it.failures.length), sum(it => it.skipped)]
  const failures = results.flatMap(it => it.failures)
  if (failures.length > 0) say(`\nfailed:\n${failures.map(it => `  ${it.split('\n')[0]}`).join('\n')}`)
  say(`\n${((performance.now() - started) / 1000).toFixed(1)} s`)
  say(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  return failed > 0 || passed === 0 || (isCi && skipped > 0) ? 1 : 0
}

process.exitCode = await main(process.argv.slice(2))
