import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { kubeletVersion, version } from '../host/version.ts'
import { bundle } from './build.ts'

const dir = await mkdtemp(join(tmpdir(), 'nlt-build-'))
t.teardown(() => rm(dir, { recursive: true }))
const files = await bundle(join(dir, 'dist'))

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

// The folder of the bundle holds nothing else, and no node_modules is above it.
const start = async (argv: readonly string[], env: Readonly<Record<string, string>> = {}, input = ''): Promise<Ended> => {
  const started = promisify(execFile)(process.execPath, [join(dir, 'dist/nodelet.mjs'), ...argv], { env, cwd: dir })
  started.child.stdin?.end(input)
  return started.then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Ended) => error,
  )
}

t.test('the same sources give the same bytes', async t => {
  const again = await bundle(join(dir, 'again'))
  t.same(again, files)
  for (const file of files) {
    const [a, b] = await Promise.all([readFile(join(dir, 'dist', file)), readFile(join(dir, 'again', file))])
    t.ok(a.equals(b), file)
  }
})

t.test('what the bundle answers when it is started', async t => {
  const calls: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>, Partial<Ended>])[] = [
    ['its version', ['--version'], {}, { code: 0, stdout: `nodelet ${version}\n` }],
    [
      'as kubelet, the version that kubeadm parses',
      ['--version'],
      { NODELET_CALLED_AS: 'kubelet' },
      { stdout: `Kubernetes ${kubeletVersion}\n` },
    ],
    ['help of the daemon', ['agent', '--help'], {}, { code: 0, stderr: '' }],
    [
      'a file that is not there is wrong configuration, in one line',
      ['agent', '--config', '/nowhere/kubelet.yaml'],
      {},
      { code: 2, stdout: '', stderr: 'nodelet agent: --config: /nowhere/kubelet.yaml: no such file\n' },
    ],
    ['an unknown flag is wrong usage', ['agent', '--no-such-flag'], {}, { code: 2 }],
    ['a command without a daemon fails', ['get', 'pods', '--socket', join(dir, 'none.sock')], {}, { code: 1, stdout: '' }],
  ]
  for (const [name, argv, env, expected] of calls) t.match(await start(argv, env), expected, name)
})

t.test('with CNI_COMMAND set it is the network plugin', async t => {
  const { code, stdout } = await start([], { CNI_COMMAND: 'VERSION' }, '{"cniVersion":"1.0.0"}')
  t.equal(code, 0)
  t.match(JSON.parse(stdout), { cniVersion: '1.0.0', supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] })
})
