// The network plugin against bridge + host-local + portmap of the CNI project, as libcni runs them: the plugins one after the other,
// ADD in order, DEL in reverse. Ours goes through the shim to a daemon. Both in one namespace that stands for the node, turn by turn.
// Prints figures: milliseconds, medians. Needs root and the plugins in /usr/lib/cni.
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { installPlugin } from '../cni/install.ts'
import { systemCniDeps } from '../cni/main.ts'
import { createCni } from '../cni/plugin.ts'
import { createCniListener } from '../cni/server.ts'
import { systemClock } from '../host/clock.ts'
import { systemExec } from '../host/exec.ts'
import { silentLog } from '../host/log.ts'
import { uniqueName } from '../test/support/names.ts'
import { median, print } from './figure.ts'

const serialRounds = 15
const concurrentRounds = 10
const concurrency = 50
const pluginDir = '/usr/lib/cni'

type Conf = Record<string, unknown>
interface Chain {
  readonly binDir: string
  readonly name: string
  readonly plugins: readonly Conf[]
}
interface PodNetns {
  readonly id: string
  readonly path: string
}

const goChain = (dataDir: string): Chain => ({
  binDir: pluginDir,
  name: 'go-chain',
  plugins: [
    {
      ...{ type: 'bridge', bridge: 'gobr0', isDefaultGateway: true, ipMasq: true, hairpinMode: true },
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.77.0.0/24' }]], dataDir },
    },
    { type: 'portmap', capabilities: { portMappings: true }, snat: true },
  ],
})
const ourChain = (binDir: string, dataDir: string): Chain => ({
  binDir,
  name: 'nodelet',
  plugins: [{ type: 'nodelet', subnets: ['10.78.0.0/24'], dataDir, capabilities: { portMappings: true } }],
})

const runPlugin = async (chain: Chain, conf: Conf, verb: string, pod: PodNetns, more: Conf): Promise<Conf | undefined> => {
  const { capabilities, ...rest } = conf
  const input = JSON.stringify({
    ...rest,
    cniVersion: '1.0.0',
    name: chain.name,
    ...more,
    ...(capabilities === undefined && { runtimeConfig: undefined }),
  })
  const env = { CNI_COMMAND: verb, CNI_CONTAINERID: pod.id, CNI_NETNS: pod.path, CNI_IFNAME: 'eth0', CNI_PATH: chain.binDir }
  const result = await systemExec.try([join(chain.binDir, String(conf['type']))], { input, env })
  if (result.exitCode !== 0) throw new Error(`${verb} ${String(conf['type'])}: ${result.stdout}${result.stderr}`)
  return result.stdout.trim() === '' ? undefined : (JSON.parse(result.stdout) as Conf)
}

const add = async (chain: Chain, pod: PodNetns, portMappings: readonly object[]): Promise<Conf> => {
  let prevResult: Conf | undefined
  for (const conf of chain.plugins)
    prevResult = await runPlugin(chain, conf, 'ADD', pod, { runtimeConfig: { portMappings }, ...(prevResult && { prevResult }) })
  return prevResult ?? {}
}
const remove = async (chain: Chain, pod: PodNetns, portMappings: readonly object[], prevResult: Conf) => {
  for (const conf of chain.plugins.toReversed())
    await runPlugin(chain, conf, 'DEL', pod, { runtimeConfig: { portMappings }, prevResult })
}

const timed = async <T>(run: () => Promise<T>): Promise<readonly [number, T]> => {
  const start = systemClock.monotonic()
  const value = await run()
  return [systemClock.monotonic() - start, value]
}

const withNetns = async <T>(id: string, run: (pod: PodNetns) => Promise<T>): Promise<T> => {
  await systemExec.run(['ip', 'netns', 'add', id])
  try {
    return await run({ id, path: `/run/netns/${id}` })
  } finally {
    await systemExec.try(['ip', 'netns', 'del', id])
  }
}

const report = (figure: string, [ours = [], theirs = []]: readonly (readonly number[])[], atMost?: number): void =>
  print({
    figure,
    ...{ unit: 'ms', ours: median(ours), peer: 'bridge + host-local + portmap', theirs: median(theirs), of: ours.length },
    ...(atMost !== undefined && { atMost }),
  })

const serial = async (what: string, name: string, chains: readonly Chain[], portMappings: readonly object[], atMost: number) => {
  const times = chains.map(() => ({ add: [] as number[], del: [] as number[], both: [] as number[] }))
  for (let i = 0; i <= serialRounds; i += 1)
    for (const [at, chain] of chains.entries())
      await withNetns(`${name}-s`, async pod => {
        const [addMs, result] = await timed(() => add(chain, pod, portMappings))
        const [delMs] = await timed(() => remove(chain, pod, portMappings, result))
        // The first makes the bridge.
        if (i === 0) return
        times[at]?.add.push(addMs)
        times[at]?.del.push(delMs)
        times[at]?.both.push(addMs + delMs)
      })
  const of = (key: 'add' | 'del' | 'both') => times.map(it => it[key])
  report(`CNI ADD${what}`, of('add'))
  report(`CNI DEL${what}`, of('del'))
  report(`CNI ADD + DEL${what}`, of('both'), atMost)
}

const concurrent = async (name: string, chains: readonly Chain[]) => {
  const ids = chains.map((_, at) => Array.from({ length: concurrency }, (_, i) => `${name}-${at}-${i}`))
  for (const id of ids.flat()) await systemExec.run(['ip', 'netns', 'add', id])
  const times = chains.map(() => [] as number[])
  try {
    for (let i = 0; i < concurrentRounds; i += 1)
      for (const [at, chain] of chains.entries()) {
        const pods = ids[at]?.map(id => ({ id, path: `/run/netns/${id}` })) ?? []
        const [ms, results] = await timed(() => Promise.all(pods.map(pod => add(chain, pod, []))))
        const addresses = new Set(results.map(result => JSON.stringify(result['ips'])))
        if (addresses.size !== concurrency) throw new Error(`${chain.name}: ${addresses.size} addresses for ${concurrency} pods`)
        times[at]?.push(ms)
        await Promise.all(pods.map((pod, j) => remove(chain, pod, [], results[j] ?? {})))
      }
  } finally {
    for (const id of ids.flat()) await systemExec.try(['ip', 'netns', 'del', id])
  }
  report(`${concurrency} ADDs at once, all right`, times, 0.5)
}

/** What runs as the daemon, in a process of its own as it would be. */
const daemon = async (dir: string) => {
  const cni = createCni(await systemCniDeps(silentLog), join(dir, 'data'))
  createServer(createCniListener({ cni })).listen(join(dir, 'sock'), () => console.log('ready'))
}

const measure = async (name: string) => {
  const dir = await mkdtemp(join(tmpdir(), 'nodelet-bench-'))
  const standalone = [process.execPath, join(import.meta.dirname, '../cni/main.ts')]
  await installPlugin({
    binDir: join(dir, 'bin'),
    confDir: join(dir, 'conf'),
    socket: join(dir, 'sock'),
    standalone,
    podCIDRs: [],
  })
  let ready = () => {}
  const started = new Promise<void>(resolve => {
    ready = resolve
  })
  const watched = systemExec.watch([process.execPath, import.meta.filename, 'daemon', dir], () => ready())
  try {
    await started
    const chains = [ourChain(join(dir, 'bin'), join(dir, 'data')), goChain(join(dir, 'go'))]
    await serial('', name, chains, [], 0.5)
    await serial(' with a hostPort', name, chains, [{ hostPort: 8000, containerPort: 80, protocol: 'tcp' }], 0.3)
    await concurrent(name, chains)
  } finally {
    watched.stop()
    await watched.ended.catch(() => undefined)
    await rm(dir, { recursive: true, force: true })
  }
}

const [role, argument = ''] = process.argv.slice(2)
if (role === 'daemon') await daemon(argument)
else if (role === 'measure') await measure(argument)
else
  await withNetns(uniqueName(), async ({ id, path }) => {
    await systemExec.run(['nsenter', `--net=${path}`, 'ip', 'link', 'set', 'dev', 'lo', 'up'])
    const argv = ['nsenter', `--net=${path}`, process.execPath, import.meta.filename, 'measure', id]
    process.stdout.write((await systemExec.run(argv, { timeoutMs: 600_000 })).stdout + '\n')
  })
