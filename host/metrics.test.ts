import t from 'tap'
import { readExposition, sampleValue } from './exposition.fake.ts'
import { toExposition } from './exposition.ts'
import { createMetrics, exponentialBuckets } from './metrics.ts'

const scrape = async (metrics: ReturnType<typeof createMetrics>) => readExposition(toExposition(await metrics.families()))

t.test('counters count by label, and one without labels is there from the start', async t => {
  const metrics = createMetrics()
  const calls = metrics.counter('calls_total', 'calls', ['method', 'code'])
  metrics.counter('restarts_total', 'restarts')
  calls.inc({ method: 'GET', code: '200' })
  calls.inc({ code: '200', method: 'GET' }, 2)
  calls.inc({ method: 'GET', code: '500' })
  const seen = await scrape(metrics)
  t.equal(sampleValue(seen, 'calls_total', { method: 'GET', code: '200' }), 3)
  t.equal(sampleValue(seen, 'calls_total', { method: 'GET', code: '500' }), 1)
  t.equal(sampleValue(seen, 'restarts_total'), 0)
})

t.test('a histogram counts a value in its bucket and in all above it', async t => {
  const metrics = createMetrics()
  const took = metrics.histogram('took_seconds', 'time', ['what'], [0.1, 1])
  for (const value of [0.1, 0.5, 7]) took.observe({ what: 'x' }, value)
  const seen = await scrape(metrics)
  for (const [le, count] of [
    ['0.1', 1],
    ['1', 2],
    ['+Inf', 3],
  ] as const) {
    t.equal(sampleValue(seen, 'took_seconds_bucket', { what: 'x', le }), count, `at most ${le}`)
  }
  t.equal(sampleValue(seen, 'took_seconds_sum'), 7.6)
  t.equal(sampleValue(seen, 'took_seconds_count'), 3)
})

t.test('bounds of buckets are written as they were meant, not as they were calculated', async t => {
  const metrics = createMetrics()
  metrics.histogram('h', 'h', [], exponentialBuckets(0.005, 2.5, 3))
  const bounds = (await scrape(metrics)).flatMap(it => it.labels['le'] ?? [])
  t.same(bounds, ['0.005', '0.0125', '0.03125', '+Inf'])
})

t.test('label values and help survive whatever is in them', async t => {
  const metrics = createMetrics()
  const odd = 'a "quoted" \\ back\nslash, comma=} '
  metrics.gauge('odd', 'two\nlines', ['value']).set({ value: odd }, 1e-9)
  const seen = await scrape(metrics)
  t.same(seen, [{ name: 'odd', labels: { value: odd }, value: 1e-9 }])
})

t.test('series of what is gone are taken out', async t => {
  const metrics = createMetrics()
  const probes = metrics.counter('probes_total', 'probes', ['pod', 'result'])
  probes.inc({ pod: 'a', result: 'ok' })
  probes.inc({ pod: 'a', result: 'failed' })
  probes.inc({ pod: 'b', result: 'ok' })
  probes.remove({ pod: 'a' })
  t.same(
    (await scrape(metrics)).map(it => it.labels['pod']),
    ['b'],
  )
})

t.test('one name is one metric, and a collector that fails spoils nothing', async t => {
  const metrics = createMetrics()
  metrics.counter('same_total', 'x').inc({})
  metrics.counter('same_total', 'x').inc({})
  metrics.collect(async () => Promise.reject(new Error('away')))
  metrics.collect(() => [{ name: 'found', help: 'x', type: 'gauge', samples: [{ value: 5, timestampMs: 1_700_000_000_123 }] }])
  const seen = await scrape(metrics)
  t.equal(sampleValue(seen, 'same_total'), 2)
  t.same(seen.at(0), { name: 'found', labels: {}, value: 5, timestampMs: 1_700_000_000_123 })
  t.throws(() => metrics.gauge('same_total', 'x'), TypeError)
})
