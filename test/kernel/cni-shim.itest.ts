// The executable that the runtime starts: through a daemon, without one, with one that breaks off, and killed at any moment.
// Every kind of shim is tried against the same calls.
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { createServer as createSocketServer } from 'node:net'
import { dirname, join } from 'node:path'
import t from 'tap'
import { type InstallOptions, installPlugin } from '../../cni/install.ts'
import { createCniListener } from '../../cni/server.ts'
import { type CniRequest, loopbackUp } from '../../cni/spec.ts'
import { createNft } from '../../host/nft.ts'
import { createCniHost, type Pod } from '../support/cni-host.ts'

const host = await createCniHost({ subnets: ['10.126.0.0/24'] })
t.teardown(() => host.end())
const socket = join(host.dir, 'daemon.sock')
const standalone = [process.execPath, join(import.meta.dirname, '../../cni/main.ts')]

const install = (name: string, programDir?: string) => {
  const paths = { binDir: join(host.dir, name, 'bin'), confDir: join(host.dir, name, 'conf') }
  const options: InstallOptions = { ...paths, socket, standalone, podCIDRs: ['10.126.0.0/24'], dataDir: host.dataDir }
  return installPlugin({ ...options, ...(programDir !== undefined && { programDir }) }).then(() => join(paths.binDir, 'nodelet'))
}
const onlyCurl = join(host.dir, 'only-curl')
await mkdir(onlyCurl)
await symlink('/usr/bin/curl', join(onlyCurl, 'curl'))
const shims = [
  ['perl', await install('perl')],
  ['curl', await install('curl', onlyCurl)],
  ['neither', await install('neither', join(host.dir, 'nothing'))],
] as const

const run = async (program: string, verb: string, pod: Pick<Pod, 'id' | 'netns'>, more: object = {}, signal?: AbortSignal) => {
  const env = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: pod.id,
    CNI_NETNS: `/run/netns/${pod.netns}`,
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/none',
    CNI_ARGS: 'A=b;C=d e',
  }
  return host.host.try([program], { env, input: JSON.stringify({ ...host.conf, ...more }), ...(signal && { signal }) })
}
const listen = (server: Server | ReturnType<typeof createSocketServer>) =>
  new Promise<void>(resolve => server.listen(socket, resolve))
const close = (server: Server | ReturnType<typeof createSocketServer>) =>
  new Promise<void>(resolve => server.close(() => resolve()))

const leftOvers = async () => ({
  links: await host.podLinks(),
  files: (await readdir(join(host.dataDir, 'test'))).filter(name => /^10\.|^\.new/.test(name)),
  elements: [...(await createNft(host.host).list(['list', 'table', 'inet', 'nodelet-cni'])).matchAll(/tcp \. \d+ : /g)].length,
})
const nothing = { links: [], files: [], elements: 0 }

for (const [name, program] of shims) {
  t.test(`the shim with ${name}: ADD and DEL by the program itself when no daemon answers`, async t => {
    const pod = await host.newPod()
    const added = await run(program, 'ADD', pod, {
      runtimeConfig: { portMappings: [{ hostPort: 8000, containerPort: 80, protocol: 'tcp' }] },
    })
    t.match(JSON.parse(added.stdout), { cniVersion: '1.0.0', ips: [{ address: /^10\.126\.0\.\d+\/24$/ }] })
    t.match(await run(program, 'DEL', pod), { exitCode: 0, stdout: '' })
    t.same(await leftOvers(), nothing)
  })
  t.test(`the shim with ${name}: an error is JSON on stdout and exit code 1`, async t => {
    const refused = await run(program, 'ADD', { id: 'nowhere', netns: 'nlt-nowhere' })
    t.equal(refused.exitCode, 1)
    t.match(JSON.parse(refused.stdout), { cniVersion: '1.0.0', code: 3 })
  })
}

for (const [name, program] of shims.slice(0, 2)) {
  t.test(`the shim with ${name}: passes environment and configuration to the daemon and prints its answer`, async t => {
    const server = createServer(
      createCniListener({ cni: { call: async request => ({ exitCode: 7, stdout: JSON.stringify(request) }) } }),
    )
    await listen(server)
    const reply = await run(program, 'ADD', { id: 'pod-ä', netns: 'none' }, { note: 'ü "quoted" \\ \n line' })
    await close(server)
    t.equal(reply.exitCode, 7)
    const { env, stdin } = JSON.parse(reply.stdout) as { env: object; stdin: string }
    t.match(env, { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'pod-ä', CNI_IFNAME: 'eth0', CNI_ARGS: 'A=b;C=d e', CNI_PATH: '/none' })
    t.match(JSON.parse(stdin), { name: 'test', note: 'ü "quoted" \\ \n line' })
  })
  t.test(`the shim with ${name}: a connection that breaks is error 11, and nothing is run a second time`, async t => {
    for (const [how, answer] of [
      ['before an answer', ''],
      ['within an answer', 'HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n0\n{"cniVersion"'],
      ['with another answer', 'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1\r\n\r\n0'],
    ] as const) {
      const pod = await host.newPod()
      const server = createSocketServer(connection =>
        connection.on('error', () => undefined).once('data', () => connection.end(answer)),
      )
      await listen(server)
      const reply = await run(program, 'ADD', pod)
      await close(server)
      t.equal(reply.exitCode, 1, how)
      t.match(JSON.parse(reply.stdout), { code: 11 }, how)
      t.same(await leftOvers(), nothing, how)
    }
  })
}

for (const [name, program, isUp] of [
  ['perl', shims[0][1], '1'],
  ['curl', shims[1][1], undefined],
] as const)
  t.test(`the shim with ${name} as loopback: the interface is up, ${isUp ? 'before' : 'when'} the daemon is asked`, async t => {
    const pod = await host.newPod()
    const asked: CniRequest[] = []
    const call = (request: CniRequest) => {
      asked.push(request)
      return host.cni().call(request)
    }
    const server = createServer(createCniListener({ cni: { call } }))
    await listen(server)
    const conf = { type: 'loopback', cniVersion: '0.3.1', subnets: undefined }
    const [added, nowhere] = [
      await run(join(dirname(program), 'loopback'), 'ADD', pod, conf),
      await run(join(dirname(program), 'loopback'), 'ADD', { id: 'nowhere', netns: 'nlt-nowhere' }, conf),
    ]
    await close(server)
    t.match(JSON.parse(added.stdout), { cniVersion: '0.3.1', ips: [{ address: '127.0.0.1/8', version: '4' }, { version: '6' }] })
    t.match(JSON.parse(nowhere.stdout), { code: 3 }, 'a namespace that is not there')
    t.same(
      asked.map(({ env }) => env[loopbackUp]),
      [isUp, undefined],
    )
    await host.listen(pod.netns, 8080)
    t.equal(await host.ask(pod.netns, 'tcp', '127.0.0.1', 8080), '127.0.0.1')
  })

t.test('a daemon and the program by itself never work beside each other', async t => {
  const [daemons, own] = [await host.addPod(), await host.newPod()]
  let answered = false
  const waiting = run(shims[2][1], 'ADD', own).finally(() => {
    answered = true
  })
  // Longer than the program takes by itself.
  await new Promise(resolve => setTimeout(resolve, 600))
  t.equal(answered, false, 'it waits while the daemon holds the lock')
  await host.cni().close()
  t.match(await waiting, { exitCode: 0 }, 'and goes on when the daemon is gone')
  for (const pod of [daemons, own])
    t.match(await host.call(pod, { verb: 'DEL' }), { exitCode: 0 }, 'a new daemon knows the pods of both')
  await host.restart()
  t.same(await leftOvers(), nothing)
})

t.test('a program killed at any moment leaves nothing that DEL does not remove, and no lock', async t => {
  await host.cni().close()
  const program = shims[2][1]
  for (const delay of [60, 100, 130, 150, 160, 170, 180, 190, 200, 210, 220, 240]) {
    const pod = await host.newPod()
    const killer = new AbortController()
    const adding = run(
      program,
      'ADD',
      pod,
      { runtimeConfig: { portMappings: [{ hostPort: 9000 + delay, containerPort: 80, protocol: 'tcp' }] } },
      killer.signal,
    )
    setTimeout(() => killer.abort(), delay)
    await adding.catch(() => undefined)
    t.match(await run(program, 'DEL', pod), { exitCode: 0 }, `killed after ${delay} ms`)
  }
  const valid = { 'cni.dev/valid-attachments': [] }
  t.match(await run(program, 'GC', { id: '', netns: '' }, valid), { exitCode: 0 })
  t.same(await leftOvers(), nothing)
})

t.test('after a reboot all addresses are free again', async t => {
  const before = await host.addPod()
  await host.restart('next-boot')
  t.same(await host.cni().attachments(), [])
  t.same(
    (await readdir(join(host.dataDir, 'test'))).filter(name => name.startsWith('10.')),
    [],
  )
  t.match(await host.call(before, { verb: 'DEL' }), { exitCode: 0 })
})

t.test('installing', async t => {
  const binDir = join(host.dir, 'install/bin')
  const confDir = join(host.dir, 'install/conf')
  const options: InstallOptions = { binDir, confDir, socket, standalone, podCIDRs: ['10.1.0.0/24', 'fd00:1::/64'] }
  t.same(await installPlugin(options), { plugin: 'written', loopback: 'written', conflist: 'written' })
  t.same(await installPlugin(options), { plugin: 'kept', loopback: 'kept', conflist: 'kept' }, 'twice changes nothing')
  t.equal((await stat(join(binDir, 'nodelet'))).mode & 0o777, 0o755)
  t.equal((await stat(join(confDir, '10-nodelet.conflist'))).mode & 0o777, 0o644)
  t.match(JSON.parse(await readFile(join(confDir, '10-nodelet.conflist'), 'utf8')), {
    ...{ cniVersion: '1.0.0', name: 'nodelet' },
    plugins: [
      {
        type: 'nodelet',
        ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]],
        capabilities: { portMappings: true, bandwidth: true },
      },
    ],
  })
  t.match(await installPlugin({ ...options, podCIDRs: ['10.2.0.0/24'] }), { conflist: 'written' }, 'another range rewrites')
  await writeFile(join(binDir, 'loopback'), 'another plugin')
  await writeFile(join(confDir, '00-other.conf'), '{}')
  t.match(await installPlugin({ ...options, podCIDRs: ['10.3.0.0/24'] }), { loopback: 'foreign', conflist: 'foreign' })
  t.equal(await readFile(join(binDir, 'loopback'), 'utf8'), 'another plugin')
  t.same((await readdir(binDir)).toSorted(), ['loopback', 'nodelet'], 'nothing is left beside')
})

t.test('as loopback it brings the interface up', async t => {
  const pod = await host.newPod()
  const conf = { cniVersion: '0.3.1', name: 'cni-loopback', type: 'loopback', subnets: [] }
  const reply = await host.call(pod, { conf })
  t.match(JSON.parse(reply.stdout), {
    cniVersion: '0.3.1',
    interfaces: [{ name: 'lo' }],
    ips: [{ address: '127.0.0.1/8', version: '4' }, { version: '6' }],
  })
  await host.listen(pod.netns, 8080)
  t.equal(await host.ask(pod.netns, 'tcp', '127.0.0.1', 8080), '127.0.0.1')
  t.match(await host.call(pod, { verb: 'CHECK', conf }), { exitCode: 0 })
  t.match(await host.call({ ...pod, netns: 'nlt-nowhere' }, { verb: 'DEL', conf }), { exitCode: 0 })
})
