import t from 'tap'
import { createFakeImages, type FakeImages } from '../api/cri/cri-images.fake.ts'
import type { AuthConfig } from '../api/cri/types.ts'
import { createStore } from '../api/source.ts'
import type { Container, Pod, Secret } from '../api/types.ts'
import { fakeClock } from '../host/clock.fake.ts'
import { Fault } from '../host/fault.ts'
import { silentLog } from '../host/log.ts'
import { createImages, type ImageEvent, type ImagesDeps } from './images.ts'

const container = (image: string, imagePullPolicy?: Container['imagePullPolicy']): Container => ({
  name: 'c',
  image,
  ...(imagePullPolicy && { imagePullPolicy }),
})
const pod = (uid: string, secrets: readonly string[] = []): Pod => ({
  metadata: { name: `pod-${uid}`, namespace: 'default', uid },
  spec: { containers: [], imagePullSecrets: secrets.map(name => ({ name })) },
})

interface Pull {
  readonly image: string
  readonly auth: AuthConfig | undefined
  readonly signal: AbortSignal | undefined
  finish(): void
}

/** Images over a registry whose pulls the test may hold back. */
const start = (present: readonly string[] = [], settings: Partial<ImagesDeps> = {}) => {
  const clock = fakeClock()
  const store: FakeImages = createFakeImages(present)
  const secrets = createStore<Secret>()
  const pulls: Pull[] = []
  const held = { yes: false }
  const images = createImages({
    cri: {
      ...store.methods,
      pullImage: async (spec, auth, sandbox, options) => {
        const { promise, resolve, reject } = Promise.withResolvers<void>()
        pulls.push({ image: spec.image ?? '', auth, signal: options?.signal, finish: resolve })
        options?.signal?.addEventListener('abort', () => reject(options.signal?.reason))
        if (!held.yes) resolve()
        await promise
        return store.methods.pullImage(spec, auth, sandbox, options)
      },
    },
    clock,
    log: silentLog,
    secrets,
    serialize: false,
    qps: 0,
    burst: 0,
    ...settings,
  })
  const breakImage = (name: string, said = 'not found') => store.broken.set(name, new Fault('image-pull', said))
  return { clock, store, secrets, pulls, held, images, breakImage }
}
const failure = (promise: Promise<unknown>): Promise<Fault> =>
  promise.then(
    () => t.fail('should fail') as never,
    error => error,
  )
const settle = () => new Promise(resolve => setImmediate(resolve))

for (const [name, given, present, expected] of [
  ['IfNotPresent pulls what is not there', container('app:v1', 'IfNotPresent'), [], 1],
  ['and leaves what is', container('app:v1', 'IfNotPresent'), ['app:v1'], 0],
  ['Always pulls in any case', container('app:v1', 'Always'), ['app:v1'], 1],
  ['Never takes what is there', container('app:v1', 'Never'), ['app:v1'], 0],
  ['without a policy :latest is Always', container('app'), ['app:latest'], 1],
  ['and any other tag IfNotPresent', container('app:v1'), ['app:v1'], 0],
] as const) {
  t.test(name, async t => {
    const { images, pulls } = start(present)
    const answer = await images.ensure(pod('a'), given)
    t.equal(pulls.length, expected)
    t.equal(answer.pulled, expected === 1)
    t.match(answer, { imageRef: /^sha256:app:/, imageId: /^sha256:app:/ })
  })
}

t.test('Never without the image is ErrImageNeverPull', async t => {
  const { images, pulls } = start()
  const fault = await failure(images.ensure(pod('a'), container('app:v1', 'Never')))
  t.match(fault, {
    code: 'image-never',
    reason: 'ErrImageNeverPull',
    message: 'Container image "app:v1" is not present with pull policy of Never',
  })
  t.equal(pulls.length, 0)
})

t.test('a name that is none is InvalidImageName', async t =>
  t.match(await failure(start().images.ensure(pod('a'), container('App:v1'))), {
    code: 'image-name',
    reason: 'InvalidImageName',
  }),
)

t.test('the user of the image comes along', async t => {
  const { images, store } = start(['plain:1'])
  store.add('numbered:1', { uid: { value: 65_532 } })
  store.add('named:1', { username: 'nginx' })
  const ask = (image: string) => images.ensure(pod('a'), container(image))
  t.match(await ask('numbered:1'), { uid: 65_532, username: undefined })
  t.match(await ask('named:1'), { uid: undefined, username: 'nginx' })
  t.match(await ask('plain:1'), { uid: 0 }, 'none named is root')
})

t.test('what happens is told as it happens', async t => {
  const { images, breakImage } = start()
  const told: ImageEvent[] = []
  const onEvent = (event: ImageEvent) => told.push(event)
  await images.ensure(pod('a'), container('app:v1'), { onEvent })
  await images.ensure(pod('a'), container('app:v1'), { onEvent })
  breakImage('bad:v1')
  await failure(images.ensure(pod('a'), container('bad:v1'), { onEvent }))
  await failure(images.ensure(pod('a'), container('bad:v1'), { onEvent }))
  t.same(
    told.map(event => `${event.type} ${event.reason} ${event.message}`),
    [
      'Normal Pulling Pulling image "app:v1"',
      'Normal Pulled Successfully pulled image "app:v1" in 0ms (0ms including waiting). Image size: 1000000 bytes.',
      'Normal Pulled Container image "app:v1" already present on machine',
      'Normal Pulling Pulling image "bad:v1"',
      'Warning Failed Failed to pull image "bad:v1": not found',
      'Normal BackOff Back-off pulling image "bad:v1"',
    ],
  )
})

t.test('a failed pull is tried again after 10 s, then 20 s, up to 5 min', async t => {
  const { images, clock, pulls, breakImage } = start()
  breakImage('bad:v1', 'no such manifest')
  const ask = () => failure(images.ensure(pod('a'), container('bad:v1')))
  t.match(await ask(), { code: 'image-pull', reason: 'ErrImagePull', message: 'no such manifest' })
  t.match(await ask(), { reason: 'ImagePullBackOff', message: 'Back-off pulling image "bad:v1": ErrImagePull: no such manifest' })
  for (const pause of [10, 20, 40, 80, 160, 300, 300]) {
    t.equal(images.retryAt(pod('a'), container('bad:v1')), clock.now() + pause * 1000)
    await clock.advance(pause * 1000 - 1)
    t.equal((await ask()).reason, 'ImagePullBackOff', `not before ${pause} s`)
    await clock.advance(1)
    t.equal(images.retryAt(pod('a'), container('bad:v1')), undefined)
    t.equal((await ask()).reason, 'ErrImagePull')
  }
  t.equal(pulls.length, 8)
  await clock.advance(600_001)
  await ask()
  t.equal(images.retryAt(pod('a'), container('bad:v1')), clock.now() + 10_000, 'forgotten after 10 min')
})

t.test('a pull that works ends the back-off', async t => {
  const { images, clock, store, breakImage } = start()
  const ask = () => images.ensure(pod('a'), container('app:v1', 'Always'))
  breakImage('app:v1')
  await failure(ask())
  await clock.advance(10_000)
  await failure(ask())
  await clock.advance(20_000)
  store.broken.clear()
  await ask()
  breakImage('app:v1')
  await failure(ask())
  t.equal(images.retryAt(pod('a'), container('app:v1')), clock.now() + 10_000)
})

t.test('the back-off of one pod does not hold up another, and goes with its pod', async t => {
  const { images, breakImage } = start()
  breakImage('bad:v1')
  await failure(images.ensure(pod('a'), container('bad:v1')))
  t.equal((await failure(images.ensure(pod('b'), container('bad:v1')))).reason, 'ErrImagePull')
  images.forget('a')
  t.equal(images.retryAt(pod('a'), container('bad:v1')), undefined)
})

t.test('a reason that the runtime names is kept', async t => {
  const { images, breakImage } = start()
  breakImage('app:v1', 'RegistryUnavailable: 503')
  t.match(await failure(images.ensure(pod('a'), container('app:v1'))), {
    reason: 'RegistryUnavailable',
    message: 'image pull failed for app:v1 because the registry is unavailable: 503',
  })
})

t.test('pods that want one image wait for one pull', async t => {
  const { images, pulls, held } = start()
  held.yes = true
  const all = ['a', 'b', 'c'].map(uid => images.ensure(pod(uid), container('app:v1')))
  await settle()
  t.equal(pulls.length, 1)
  pulls[0]?.finish()
  t.same(
    (await Promise.all(all)).map(answer => answer.pulled),
    [true, true, true],
  )
})

t.test('one that stops waiting leaves the pull to the others; the last one stops it', async t => {
  const { images, pulls, held } = start()
  held.yes = true
  const [first, second] = [new AbortController(), new AbortController()]
  const a = failure(images.ensure(pod('a'), container('app:v1'), { signal: first.signal }))
  const b = failure(images.ensure(pod('b'), container('app:v1'), { signal: second.signal }))
  await settle()
  first.abort(new Error('pod a is gone'))
  t.match(await a, { message: 'pod a is gone' })
  t.equal(pulls[0]?.signal?.aborted, false)
  second.abort(new Error('pod b is gone'))
  t.match(await b, { message: 'pod b is gone' })
  t.equal(pulls[0]?.signal?.aborted, true)
  t.equal(images.retryAt(pod('a'), container('app:v1')), undefined, 'and nobody backs off for it')
})

for (const [name, settings, expected] of [
  ['serial pulls go one after the other', { serialize: true }, 1],
  ['parallel ones beside each other', {}, 3],
  ['up to the limit', { maxParallel: 2 }, 2],
] as const) {
  t.test(name, async t => {
    const { images, pulls, held } = start([], settings)
    held.yes = true
    const all = ['x:1', 'y:1', 'z:1'].map(image => images.ensure(pod('a'), container(image)))
    await settle()
    t.equal(pulls.length, expected)
    held.yes = false
    for (const pull of pulls) pull.finish()
    await Promise.all(all)
    t.same(
      pulls.map(pull => pull.image),
      ['x:1', 'y:1', 'z:1'],
    )
  })
}

t.test('over the rate a pull waits for its turn', async t => {
  const { images, pulls, clock } = start([], { qps: 1, burst: 2 })
  const all = ['w:1', 'x:1', 'y:1', 'z:1'].map(image => images.ensure(pod('a'), container(image)))
  await settle()
  t.equal(pulls.length, 2)
  await clock.advance(1000)
  t.equal(pulls.length, 3)
  await clock.advance(1000)
  t.equal(pulls.length, 4)
  await Promise.all(all)
})

t.test('credentials of pull secrets are tried one after the other', async t => {
  const { images, secrets, pulls, breakImage } = start()
  const auths = {
    'registry.example': { username: 'all', password: 'p' },
    'registry.example/team': { username: 'team', password: 'p' },
  }
  const data = { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths })).toString('base64') }
  secrets.put({ metadata: { name: 'regcred', namespace: 'default' }, type: 'kubernetes.io/dockerconfigjson', data })
  breakImage('registry.example/team/app:v1', 'unauthorized')
  const fault = await failure(images.ensure(pod('a', ['regcred', 'missing']), container('registry.example/team/app:v1')))
  t.same(
    pulls.map(pull => pull.auth?.username),
    ['team', 'all'],
  )
  t.match(fault, { reason: 'ErrImagePull', message: '[unauthorized, unauthorized]' })
})

t.test('a runtime that is away is asked once, whatever the credentials', async t => {
  const { images, store } = start()
  store.broken.set('app:v1', new Fault('runtime-away', 'containerd does not answer'))
  t.match(await failure(images.ensure(pod('a'), container('app:v1'))), {
    code: 'image-pull',
    message: 'containerd does not answer',
  })
})

t.test('a pull secret that cannot be looked up is passed over, and the providers of the node are asked', async t => {
  const { images, pulls } = start([], {
    secrets: {
      get: () => undefined,
      known: async () => {
        throw new Fault('volume', 'nope')
      },
    },
    providers: { credentials: async () => [{ key: 'registry.example', auth: { username: 'node' } }] },
  })
  await images.ensure(pod('1', ['regcred']), container('registry.example/app:1'))
  t.match(pulls, [{ auth: { username: 'node' } }])
})
