// Crash-only, proven: the daemon is killed a hundred times at random moments while manifests come, change and go. At the end exactly
// what is wanted runs, nothing of what went is left anywhere, and pods that nobody touched never noticed.
// The seed is printed; CHAOS_SEED repeats a run as far as time allows, CHAOS_KILLS sets another number of kills.
import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { systemClock as clock } from '../../host/clock.ts'
import { call, streamLog, trafficPod } from '../support/callers.ts'
import { busyboxImage } from '../support/images.ts'
import { configMap, podOf, script, service } from '../support/manifests.ts'
import { createNode, isReady, nodeIP } from '../support/node.ts'
import { expectedOf, holdingsOf } from '../support/node-traces.ts'
import { waitFor } from '../support/wait.ts'

t.setTimeout(0)
const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 1_000_000)
const kills = Number(process.env['CHAOS_KILLS'] ?? 100)

const createRandom = (start: number) => {
  let state = start >>> 0
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
  return {
    below: (limit: number) => Math.floor(next() * limit),
    between: (low: number, high: number) => low + next() * (high - low),
  }
}

// Few addresses, so that one that is free is soon given away again.
const node = await createNode({ config: { podCIDR: '10.244.0.0/27' }, containerd: { images: [busyboxImage] } })
t.teardown(() => node.close())
const { containerd } = node

const server = (name: string, more: object = {}) =>
  script('exec httpd -f -p 80 -h /www', {
    readinessProbe: { httpGet: { path: '/page', port: 80 }, periodSeconds: 1 },
    volumeMounts: [{ name: 'page', mountPath: '/www' }],
    ...more,
    name,
  })

/** The objects of one file: a pod that answers with `page`, and a Service before it. `slot` keeps what may not be given twice apart. */
const group = (name: string, slot: number, page: string, kind: number) => {
  const hostPorts = kind % 2 === 0 ? [{ containerPort: 80, hostPort: 18_000 + slot }] : []
  const annotations =
    kind % 3 === 0 ? { 'kubernetes.io/egress-bandwidth': '100M', 'kubernetes.io/ingress-bandwidth': '100M' } : {}
  const initContainers =
    kind % 4 === 0 ? [script('test -s /www/page', { name: 'init', volumeMounts: [{ name: 'page', mountPath: '/www' }] })] : []
  const scratch = { name: 'scratch', emptyDir: { medium: 'Memory' } }
  const hasScratch = kind % 5 === 0
  const mounts = [{ name: 'page', mountPath: '/www' }, ...(hasScratch ? [{ name: 'scratch', mountPath: '/scratch' }] : [])]
  return [
    configMap(`page-${name}`, { page }),
    podOf(
      name,
      server('web', { ports: hostPorts, volumeMounts: mounts }),
      { initContainers, volumes: [{ name: 'page', configMap: { name: `page-${name}` } }, ...(hasScratch ? [scratch] : [])] },
      { labels: { app: name }, annotations },
    ),
    service(name, [{ port: 80, nodePort: 30_100 + slot }], { type: 'NodePort', clusterIP: `10.96.1.${slot + 1}` }),
  ]
}

interface Wanted {
  readonly page: string
  readonly slot: number
  readonly kind: number
}

/** Changes one file of the folder at random. The page of a pod alone may change: then the pod stays and its volume is rewritten. */
const createChurn = (random: ReturnType<typeof createRandom>) => {
  const wanted = new Map<string, Wanted>()
  let version = 0
  const write = async (name: string, next: Wanted) => {
    wanted.set(name, next)
    await node.write(`${name}.json`, group(name, next.slot, next.page, next.kind))
  }
  return {
    wanted,
    step: async () => {
      const slot = random.below(8)
      const name = `churn-${slot}`
      const before = wanted.get(name)
      version += 1
      const page = `${name} version ${version}`
      if (before === undefined) return write(name, { page, slot, kind: random.below(60) })
      const what = random.below(4)
      if (what === 0) return write(name, { ...before, page })
      if (what === 1) return write(name, { page, slot, kind: before.kind + 1 })
      wanted.delete(name)
      return node.remove(`${name}.json`)
    },
  }
}

const bystanders = ['still-1', 'still-2'] as const
const containersOf = async (names: readonly string[]) =>
  (await containerd.cri.listContainers())
    .filter(it => names.includes(it.labels['io.kubernetes.pod.name'] ?? ''))
    .map(it => `${it.labels['io.kubernetes.pod.name']} ${it.metadata.name} ${it.metadata.attempt} ${it.id} ${it.state}`)
    .sort()

/** Addresses of sandboxes that are up, by what the runtime says of each. */
const addressesInUse = async (): Promise<readonly string[]> => {
  const up = await containerd.cri.listPodSandbox({ state: { state: 'SANDBOX_READY' } })
  const found = await Promise.all(
    up.map(async ({ id }) => {
      const answer = await containerd.cri.podSandboxStatus(id).catch(() => undefined)
      return answer?.status.state === 'SANDBOX_READY' ? answer.status.network?.ip : undefined
    }),
  )
  return found.filter((ip): ip is string => ip !== undefined && ip !== '')
}

const get = (url: string) => node.curl(url, '--max-time', '2').catch(() => 'no answer')

t.test(`${kills} times kill -9 of the daemon while manifests come and go (seed ${seed})`, async t => {
  const random = createRandom(seed)
  t.comment(`seed ${seed}`)
  await node.write('echo.json', [
    podOf('echo', [], await trafficPod(['serve', '7000'], 7000), { labels: { app: 'echo' } }),
    service('echo', [{ port: 7, targetPort: 7000 }], { clusterIP: '10.96.0.77' }),
  ])
  for (const [slot, name] of bystanders.entries()) await node.write(`${name}.json`, group(name, 20 + slot, name, slot * 15))
  await node.until('echo', isReady)
  await node.write('streamer.json', podOf('streamer', [], await trafficPod(['stream', '10.96.0.77', '7'])))
  const untouched = ['echo', 'streamer', ...bystanders].map(name => `${name}-n1`)
  for (const name of bystanders) await node.until(name, isReady)
  const streamer = await node.until('streamer', isReady)
  await waitFor('the stream from a pod', async () => (await streamLog(node.podLogs, streamer)).includes('connected'))
  const before = await containersOf(untouched)
  const stream = await call(node.netns, 'stream', '10.96.0.77', 7)

  const churn = createChurn(random)
  const twice: string[] = []
  let over = false
  const watching = (async () => {
    while (!over) {
      const addresses = await addressesInUse()
      for (const ip of addresses) if (addresses.indexOf(ip) !== addresses.lastIndexOf(ip)) twice.push(ip)
      await clock.sleep(150)
    }
  })()
  const churning = (async () => {
    while (!over) {
      await churn.step()
      await clock.sleep(random.between(20, 600))
    }
  })()
  const killing = (async () => {
    for (let kill = 0; kill < kills && !over; kill++) {
      // Half of the lives end while the daemon is still starting or adopting.
      await clock.sleep(random.between(0, random.below(2) === 0 ? 700 : 1500))
      await node.kill9()
      void node.start().catch(() => undefined)
    }
  })()
  await Promise.race([killing, Promise.all([watching, churning])]).finally(() => {
    over = true
  })
  await Promise.all([killing, watching, churning])
  const names = [...untouched, ...[...churn.wanted.keys()].map(name => `${name}-n1`)].sort()

  const settled = await waitFor(
    'exactly the wanted pods to be ready',
    async () => {
      const pods = await node.list<Pod>('/v1/pods')
      const all = pods.map(pod => pod.metadata.name).sort()
      return all.join() === names.join() && pods.every(isReady) ? pods : undefined
    },
    60_000,
  ).catch(async error => {
    for (const line of (await node.log()).split('\n').slice(-40)) t.comment(line)
    throw error
  })
  t.same(twice, [], 'no address was ever given to two pods')

  const expected = await expectedOf(node, settled)
  await waitFor(
    'nothing else to be left',
    async () => JSON.stringify(await holdingsOf(node)) === JSON.stringify(expected),
    15_000,
  ).catch(() => undefined)
  const holdings = await holdingsOf(node)
  for (const [kind, list] of Object.entries(expected)) t.same(holdings[kind], list, kind)
  const strangers = (kind: string) => (holdings[kind] ?? []).filter(id => !expected[kind]?.includes(id))
  const tellOf = (ids: readonly string[], text: string) => {
    for (const line of text.split('\n')) if (ids.some(id => line.includes(id))) t.comment(line)
  }
  tellOf(strangers('shims'), await containerd.log())
  const left = strangers('owners of containers')
  if (left.length > 0)
    tellOf([...left, '"level":"warn"', '"level":"error"'], (await node.log()).split('\n').slice(-200).join('\n'))

  t.same(await containersOf(untouched), before, 'the same containers, none restarted')
  t.same(stream.problems, [], 'a connection through a ClusterIP from the host never broke')
  t.ok((await stream.stop()) > 100, 'and was used all the time')
  t.notMatch(await streamLog(node.podLogs, streamer), /closed|dropped|no echo/, 'nor did that of a pod')

  for (const [name, { page, slot, kind }] of churn.wanted) {
    await waitFor(`the page of ${name}`, async () => (await get(`http://10.96.1.${slot + 1}/page`)) === page, 5_000).catch(
      () => undefined,
    )
    t.equal(await get(`http://10.96.1.${slot + 1}/page`), page, `${name} by its ClusterIP`)
    t.equal(await get(`http://${nodeIP}:${30_100 + slot}/page`), page, `${name} by its node port`)
    if (kind % 2 === 0) t.equal(await get(`http://${nodeIP}:${18_000 + slot}/page`), page, `${name} by its hostPort`)
  }
  t.equal(await get(`http://10.96.1.200/page`), 'no answer', 'a Service that is not there does not answer')
})
