import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Pod } from '../api/types.ts'
import { fakeClock } from '../host/clock.fake.ts'
import { systemExec } from '../host/exec.ts'
import { type Log, silentLog } from '../host/log.ts'
import { type CredentialProvider, parseCredentialProviders } from './config/credential-providers.ts'
import { type CredentialProvidersDeps, createCredentialProviders, loadCredentialProviders } from './credential-providers.ts'

const apiVersion = 'credentialprovider.kubelet.k8s.io/v1'
const providerOf = (more: Partial<CredentialProvider> = {}): CredentialProvider => ({
  ...{ name: 'helper', matchImages: ['*.registry.io', 'docker.io/team'], defaultCacheDuration: 600_000, apiVersion },
  ...more,
})
const podOf = (serviceAccountName = 'clerk'): Pod => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: { serviceAccountName, containers: [{ name: 'c', image: 'i' }] },
})
const answerOf = (more: object = {}) =>
  JSON.stringify({ apiVersion, cacheKeyType: 'Registry', auth: { 'eu.registry.io': { username: 'u', password: 'p' } }, ...more })

const bench = (
  given: { provider?: Partial<CredentialProvider>; answer?: string; exitCode?: number } & Pick<
    CredentialProvidersDeps,
    'accounts'
  > = {},
) => {
  const clock = fakeClock()
  const asked: { argv: readonly string[]; input: unknown; env: unknown }[] = []
  const said: string[] = []
  const log: Log = { ...silentLog, error: (_, message) => void said.push(message) }
  const { credentials } = createCredentialProviders({
    providers: [providerOf(given.provider)],
    binDir: '/opt/bin',
    exec: {
      try: async (argv, options) => {
        asked.push({ argv, input: JSON.parse(options?.input ?? ''), env: options?.env })
        return { exitCode: given.exitCode ?? 0, stdout: given.answer ?? answerOf(), stderr: 'no luck' }
      },
    },
    ...{ clock, log },
    ...(given.accounts && { accounts: given.accounts }),
  })
  return { clock, asked, said, ask: (image: string, pod = podOf()) => credentials(pod, image) }
}
const found = [{ key: 'eu.registry.io', auth: { username: 'u', password: 'p' } }]

t.test('a provider is asked for the images that it matches, without their tag', async t => {
  const { ask, asked } = bench({ provider: { args: ['get'], env: [{ name: 'REGION', value: 'eu' }] } })
  t.same(await ask('eu.registry.io/shop/web:1'), found)
  t.same(await ask('other.io/web'), [])
  t.same(await ask('a.b.registry.io/web'), [], 'a star is one part of a name')
  t.same(asked, [
    {
      argv: ['/opt/bin/helper', 'get'],
      input: { kind: 'CredentialProviderRequest', apiVersion, image: 'eu.registry.io/shop/web' },
      env: { REGION: 'eu' },
    },
  ])
})

for (const [name, answer, images, times] of [
  ['for its registry', {}, ['eu.registry.io/a', 'eu.registry.io/b', 'us.registry.io/a'], 2],
  ['for the image alone', { cacheKeyType: 'Image' }, ['eu.registry.io/a', 'eu.registry.io/a:2', 'eu.registry.io/b'], 2],
  ['for all images', { cacheKeyType: 'Global' }, ['eu.registry.io/a', 'us.registry.io/b', 'team/x'], 1],
  ['not at all', { cacheDuration: '0s' }, ['eu.registry.io/a', 'eu.registry.io/a'], 2],
] as const) {
  t.test(`an answer is remembered ${name}`, async t => {
    const { ask, asked } = bench({ answer: answerOf(answer) })
    for (const image of images) await ask(image)
    t.equal(asked.length, times)
  })
}

t.test('it is remembered as long as it says, else as long as the configuration does', async t => {
  for (const [answer, ms] of [
    [{}, 600_000],
    [{ cacheDuration: '1m0s' }, 60_000],
  ] as const) {
    const { ask, asked, clock } = bench({ answer: answerOf(answer) })
    await Promise.all([ask('eu.registry.io/a'), ask('eu.registry.io/a')])
    await clock.advance(ms - 1)
    await ask('eu.registry.io/a')
    t.equal(asked.length, 1)
    await clock.advance(1)
    await ask('eu.registry.io/a')
    t.equal(asked.length, 2)
  }
})

for (const [name, given, message] of [
  ['one that fails', { exitCode: 1 }, /exit code 1: no luck$/],
  ['one that says something else', { answer: 'p4ss' }, /its answer is no JSON$/],
  ['one that leaves something out', { answer: JSON.stringify({ apiVersion }) }, /wrong cacheKeyType$/],
  ['one that speaks another version', { answer: answerOf({ apiVersion: 'x/v1' }) }, /it answers as x\/v1, want/],
] as const) {
  t.test(`${name} is named, and the pull goes on without it`, async t => {
    const { ask, said } = bench(given)
    t.same(await ask('eu.registry.io/a'), [])
    t.match(said, [message])
    t.notMatch(said.join(''), /p4ss/)
  })
}

const tokenAttributes: NonNullable<CredentialProvider['tokenAttributes']> = {
  ...{ serviceAccountTokenAudience: 'registry', cacheType: 'ServiceAccount', requireServiceAccount: true },
  requiredServiceAccountAnnotationKeys: ['team'],
}
const accountsOf = (annotations: Record<string, string>): NonNullable<CredentialProvidersDeps['accounts']> => ({
  tokens: { token: async (pod, { audience }) => `jwt-${pod.metadata.uid}-${audience}` },
  get: async (namespace, name) => ({ metadata: { name, namespace, uid: 'sa', annotations: { other: 'x', ...annotations } } }),
})

t.test('a provider that wants it gets a token of the pod, and the annotations that it names', async t => {
  const { ask, asked } = bench({ provider: { tokenAttributes }, accounts: accountsOf({ team: 'blue' }) })
  t.same(await ask('eu.registry.io/a'), found)
  await ask('eu.registry.io/a', { ...podOf(), metadata: { name: 'other', namespace: 'shop', uid: 'v' } })
  t.equal(asked.length, 1, 'the answer is for all pods of the account')
  t.match(asked[0]?.input, { serviceAccountToken: 'jwt-u-registry', serviceAccountAnnotations: { team: 'blue' } })
})

t.test('with cacheType Token an answer is for the pod alone, and may be the token itself', async t => {
  const auth = { 'eu.registry.io': { username: 'u', password: 'jwt-u-registry' } }
  const given = { answer: answerOf({ auth }), accounts: accountsOf({ team: 'blue' }) }
  const { ask, asked } = bench({ ...given, provider: { tokenAttributes: { ...tokenAttributes, cacheType: 'Token' } } })
  t.equal((await ask('eu.registry.io/a'))[0]?.auth.password, 'jwt-u-registry')
  await ask('eu.registry.io/a', { ...podOf(), metadata: { name: 'other', namespace: 'shop', uid: 'v' } })
  t.equal(asked.length, 2)
  const { ask: askShared, said } = bench({ ...given, provider: { tokenAttributes } })
  t.same(await askShared('eu.registry.io/a'), [])
  t.match(said, [/needs cacheType Token/])
})

t.test('without the account, or without the annotation that opts in, it is not asked', async t => {
  for (const [pod, annotations] of [
    [podOf(''), { team: 'blue' }],
    [podOf(), {}],
  ] as const) {
    const { ask, asked, said } = bench({ provider: { tokenAttributes }, accounts: accountsOf(annotations) })
    t.same(await ask('eu.registry.io/a', pod), [])
    t.same([...asked, ...said], [])
  }
})

const file = (providers: string) =>
  `apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n${providers}`
const good = `- {name: helper, matchImages: ["*.registry.io"], defaultCacheDuration: 10m, apiVersion: ${apiVersion}}\n`

t.test('a configuration', async t => {
  t.same(parseCredentialProviders('/c', file(good)), [
    { name: 'helper', matchImages: ['*.registry.io'], defaultCacheDuration: 600_000, apiVersion },
  ])
})

for (const [name, text, message] of [
  ['no providers', file('  []'), /providers.*want at least one provider/],
  ['a field that nobody knows', file(good.replace('matchImages', 'matchImage')), /matchImage/],
  ['a name that is a path', file(good.replace('helper', '../sh')), /want the name of a program/],
  ['a name that is there twice', file(good + good), /is there twice/],
  ['an API that nobody speaks', file(good.replace('/v1}', '/v9}')), /apiVersion/],
  ['a cache duration that is none', file(good.replace('10m', 'soon')), /want a duration/],
] as const) {
  t.test(`a configuration is refused: ${name}`, async t => {
    t.throws(() => parseCredentialProviders('/c', text), { code: 'bad-config', message })
  })
}

t.test('a real program is looked up and asked', async t => {
  const folder = t.testdir({ 'config.yaml': file(good) })
  const bin = join(folder, 'bin')
  await mkdir(bin)
  await t.rejects(loadCredentialProviders(join(folder, 'config.yaml'), bin), { code: 'bad-config', message: /bin\/helper/ })
  const script = `#!/bin/sh\nread request\ncase "$request" in *eu.registry.io/a*) echo '${answerOf()}' ;; esac\n`
  await writeFile(join(bin, 'helper'), script)
  await chmod(join(bin, 'helper'), 0o755)
  const providers = await loadCredentialProviders(join(folder, 'config.yaml'), bin)
  const { credentials } = createCredentialProviders({
    providers,
    binDir: bin,
    exec: systemExec,
    clock: fakeClock(),
    log: silentLog,
  })
  t.same(await credentials(podOf(), 'eu.registry.io/a:1'), found)
  await t.rejects(loadCredentialProviders(join(folder, 'no-such'), bin), { code: 'bad-config' })
})
