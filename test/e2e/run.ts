// Runs parts of the upstream end-to-end suite on two nodes of a cluster of its own: `npm run test:e2e -- FOCUS [SKIP]`, both regular
// expressions on the names of the tests. Prints what failed and `N passed, N failed`; 1 is the exit code when a test failed or none ran.
// AGENT=kubelet runs them on nodes of the Go programs, PROCESSES is how many run side by side (those marked [Serial] never do),
// E2E_REPORT names a folder that keeps the suite's log and its report.
import { copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agent, type Cluster, createCluster } from '../support/cluster.ts'
import { peer } from '../support/peers.ts'
import { type Program, startProgram } from '../support/programs.ts'
import { suiteArchives } from './images.ts'
import { outcomeOf, type Report } from './report.ts'

const usualSkip = String.raw`\[Disruptive\]|\[Slow\]|\[Alpha\]|\[Feature:`
const processes = Number(process.env['PROCESSES'] ?? 4)
const reportName = 'report.json'

const say = (line: string) => process.stdout.write(`${line}\n`)

const toArgv = async ({ controlPlane, nodes }: Cluster, dir: string, focus: string, skip: string): Promise<readonly string[]> => [
  ...[await peer('ginkgo'), `--nodes=${processes}`, '--no-color', '--timeout=3h', `--focus=${focus}`, `--skip=${skip}`],
  ...[`--output-dir=${dir}`, `--json-report=${reportName}`, await peer('e2e.test'), '--', '--provider=skeleton'],
  ...[`--kubeconfig=${controlPlane.kubeconfig}`, `--num-nodes=${nodes.length}`, '--allowed-not-ready-nodes=0'],
  ...['--minStartupPods=0', '--disable-log-dump=true', '--dump-logs-on-failure=false'],
]

/** Runs the suite to its end. @param onStart gets the program, for whoever is asked to stop */
const runSuite = async (cluster: Cluster, dir: string, argv: readonly string[], onStart: (suite: Program) => void) => {
  const ended = Promise.withResolvers<void>()
  const env = { HOME: dir, KUBECONFIG: cluster.controlPlane.kubeconfig }
  onStart(await startProgram({ netns: cluster.controlPlane.netns, log: join(dir, 'log'), argv, env, onEnd: ended.resolve }))
  await ended.promise
}

const keep = async (dir: string) => {
  const folder = process.env['E2E_REPORT']
  if (folder === undefined) return
  await mkdir(folder, { recursive: true })
  for (const file of ['log', reportName]) await copyFile(join(dir, file), join(folder, file)).catch(() => undefined)
}

const main = async ([focus, skip = usualSkip]: readonly string[]): Promise<number> => {
  if (focus === undefined) {
    say('usage: npm run test:e2e -- FOCUS [SKIP]')
    return 2
  }
  const archives = await suiteArchives()
  const dir = await mkdtemp(join(tmpdir(), 'nlt-e2e-'))
  let suite: Program | undefined
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void suite?.end())
  let cluster: Cluster | undefined
  try {
    cluster = await createCluster({ archives, images: [] })
    say(`two nodes of ${agent} are Ready; running ${focus}`)
    await runSuite(cluster, dir, await toArgv(cluster, dir, focus, skip), started => {
      suite = started
    })
    await keep(dir)
    const text = await readFile(join(dir, reportName), 'utf8').catch(() => undefined)
    if (text === undefined) {
      say((await readFile(join(dir, 'log'), 'utf8')).split('\n').slice(-20).join('\n'))
      return 1
    }
    const { passed, failures } = outcomeOf(JSON.parse(text) as readonly Report[])
    for (const { name, message } of failures) say(`FAIL ${name}\n     ${message.trim().split('\n').slice(0, 6).join('\n     ')}`)
    say(`${passed} passed, ${failures.length} failed`)
    return failures.length > 0 || passed === 0 ? 1 : 0
  } finally {
    await cluster?.close()
    await rm(dir, { recursive: true, force: true })
  }
}

process.exit(await main(process.argv.slice(2)))
