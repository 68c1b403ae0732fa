// The servers of the proxy, on loopback: which path is answered where, what a server that cannot listen leads to, and their end.
import { createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { loadProxyConfig, type ProxyConfig } from '../../api/config/proxy-config.ts'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import { createStore } from '../../api/source.ts'
import { type FakeClock, fakeClock } from '../../host/clock.fake.ts'
import { silentLog } from '../../host/log.ts'
import type { Proxy as ServiceProxy } from '../main.ts'
import { defaultSettings } from '../settings.ts'
import { createProxyFace, type FaceEvent, type ProxyFaceDeps } from './face.ts'

const taken = async () => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { address: `127.0.0.1:${port}`, free: () => new Promise(resolve => server.close(resolve)) }
}
const freeAddress = async (): Promise<string> => {
  const { address, free } = await taken()
  await free()
  return address
}

const ask = (address: string, path: string): Promise<{ status: number | string; type?: string; body?: string }> =>
  new Promise(resolve => {
    const request = get(`http://${address}${path}`, { agent: false }, async response =>
      resolve({
        status: response.statusCode ?? 0,
        type: response.headers['content-type'] ?? '',
        body: await text(response),
      }),
    )
    request.on('error', (error: NodeJS.ErrnoException) => resolve({ status: error.code ?? '' }))
  })

const notAsked = async (file: string): Promise<string> => {
  throw new Error(file)
}

interface Given {
  readonly config?: Partial<ProxyConfig>
  readonly clock?: FakeClock
  readonly onHardFail?: (error: unknown) => void
}

/** A proxy whose only change has waited since its clock began. */
const begin = async (t: { teardown(run: () => Promise<void>): unknown }, given: Given = {}) => {
  const { clock = fakeClock(), config: more } = given
  const [health, metrics] = [await freeAddress(), await freeAddress()]
  const loaded = await loadProxyConfig(['--proxy-mode=nftables'], notAsked)
  const config = { ...loaded.config, healthzBindAddress: health, metricsBindAddress: metrics, ...more }
  const node = { eligible: true }
  const events: FaceEvent[] = []
  const began = clock.now()
  const family = { queuedAt: began, updatedAt: began, waitingSince: began }
  const none = { failures: 0, partialFailures: 0, staleFlowsRemoved: 0 }
  const status = {
    ...{ mode: 'nftables', drifts: 0, pending: { services: 0, endpoints: 0 } },
    perFamily: { IPv4: { ...family, ...none } },
  } as unknown as ReturnType<ServiceProxy['status']>
  const deps: ProxyFaceDeps = {
    ...{ config, nodeName: 'a', clock, log: silentLog, bootedAt: 0 },
    proxy: {
      ...{ status: () => status, settings: () => defaultSettings, follow: () => () => undefined },
      stranded: () => ({ internal: 0, external: 0 }),
    },
    services: createStore<Service>(),
    endpointSlices: createStore<EndpointSlice>(),
    isEligible: () => node.eligible,
    onEvent: event => events.push(event),
    ...(given.onHardFail && { onHardFail: given.onHardFail }),
  }
  const face = await createProxyFace(deps)
  t.teardown(face.close)
  return { health, metrics, node, events, clock, face }
}

t.test('health and metrics have an address each, and their own paths', async t => {
  const { health, metrics } = await begin(t)
  for (const [address, path, expected] of [
    [health, '/healthz', { status: 200, type: 'application/json' }],
    [health, '/livez?verbose', { status: 200, type: 'application/json' }],
    [health, '/readyz', { status: 404 }],
    [health, '/metrics', { status: 404 }],
    [metrics, '/healthz', { status: 200, body: 'ok' }],
    [metrics, '/proxyMode', { status: 200, type: 'text/plain; charset=utf-8', body: 'nftables' }],
    [metrics, '/configz', { status: 200, type: 'application/json', body: /^\{"kubeproxy\.config\.k8s\.io":\{/ }],
    [metrics, '/metrics', { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8' }],
    [metrics, '/livez', { status: 404 }],
    [metrics, '/constructor', { status: 404 }],
  ] as const)
    t.match(await ask(address, path), expected, path)
})

t.test('late is what has waited for two sync periods; answers are counted', async t => {
  const { health, metrics, clock, node } = await begin(t)
  t.equal((await ask(health, '/healthz')).status, 200)
  node.eligible = false
  t.equal((await ask(health, '/healthz')).status, 503)
  t.equal((await ask(health, '/livez')).status, 200)
  await clock.advance(60_000)
  t.equal((await ask(health, '/livez')).status, 503)
  const { body = '' } = await ask(metrics, '/metrics')
  for (const line of ['healthz_total{code="200"} 1', 'healthz_total{code="503"} 1', 'livez_total{code="503"} 1'])
    t.match(body, `\nkubeproxy_proxy_${line}\n`)
})

t.test('an address that is empty is not served', async t => {
  const { health, metrics } = await begin(t, { config: { healthzBindAddress: '' } })
  t.equal((await ask(health, '/healthz')).status, 'ECONNREFUSED')
  t.equal((await ask(metrics, '/healthz')).status, 200)
})

t.test('an address that is taken is tried again', async t => {
  const { address, free } = await taken()
  const { clock, events } = await begin(t, { config: { healthzBindAddress: address } })
  await free()
  await clock.advance(5_000)
  let answered = await ask(address, '/livez')
  for (let turn = 0; answered.status !== 200 && turn < 100; turn += 1) {
    await new Promise(resolve => setImmediate(resolve))
    answered = await ask(address, '/livez')
  }
  t.equal(answered.status, 200)
  t.same(events, [])
})

t.test('or is the end, when the configuration says so, and an Event of the Node', async t => {
  const { address, free } = await taken()
  t.teardown(free)
  const failures: unknown[] = []
  const { events } = await begin(t, {
    config: { metricsBindAddress: address, bindAddressHardFail: true },
    onHardFail: error => failures.push(error),
  })
  t.match(failures, [{ code: 'network', message: `${address}: the port is in use by another program` }])
  t.match(events, [{ kind: 'Node', name: 'a', reason: 'FailedToStartMetricServer' }])
})

t.test('at the end nobody answers', async t => {
  const { health, metrics, face } = await begin(t)
  await face.close()
  for (const address of [health, metrics]) t.equal((await ask(address, '/healthz')).status, 'ECONNREFUSED')
})
