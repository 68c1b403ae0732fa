import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemExec } from '../host/exec.ts'
import { version } from '../host/version.ts'
import { decide } from './main.ts'

for (const [name, calledAs, argv, expected] of [
  [
    'a command runs with what follows',
    'nodelet',
    ['get', 'pods', '-o', 'json'],
    { do: 'run', command: 'get', argv: ['pods', '-o', 'json'] },
  ],
  ['as kubelet it is the daemon', 'kubelet', ['--config=x'], { do: 'run', command: 'agent', argv: ['--config=x'] }],
  ['as kube-proxy it is the proxy', 'kube-proxy', ['--cleanup'], { do: 'run', command: 'proxy', argv: ['--cleanup'] }],
  ['what the daemon asks of itself is no flag of a kubelet', 'kubelet', ['x509'], { do: 'run', command: 'x509', argv: [] }],
  ['the version', 'nodelet', ['--version'], { do: 'print', text: /^nodelet \d/ }],
  [
    'the version that kubeadm parses',
    'kubelet',
    ['--version'],
    { do: 'print', text: /^Kubernetes v1\.36\.3\+nodelet\.\d+\.\d+\.\d+\n$/ },
  ],
  ['the daemon asked for its version', 'nodelet', ['agent', '--v=2', '--version'], { do: 'print', text: /^Kubernetes v/ }],
  ['help', 'nodelet', ['--help'], { do: 'print', text: /usage: nodelet COMMAND/ }],
  ['help of the daemon', 'kubelet', ['--help'], { do: 'print', text: /flags of the kubelet/ }],
  ["help of a command is the command's own", 'nodelet', ['get', '--help'], { do: 'run', command: 'get', argv: ['--help'] }],
  ['nothing is a usage error', 'nodelet', [], { do: 'refuse', text: /usage: / }],
  [
    'an unknown command is one line',
    'nodelet',
    ['frob'],
    {
      do: 'refuse',
      text: 'nodelet: "frob": unknown command: want one of agent, proxy, cni, get, logs, exec, install, uninstall, doctor, why, trace, diff\n',
    },
  ],
] as const) {
  t.test(name, async t => t.match(decide({ calledAs, argv, isPlugin: false }), expected))
}

t.test('with CNI_COMMAND set it is the plugin, whatever it is called', async t => {
  t.match(decide({ calledAs: 'kubelet', argv: [], isPlugin: true }), { do: 'run', command: 'cni' })
})

const program = join(import.meta.dirname, '../bin/nodelet')

t.test('bin/nodelet starts from anywhere, by its name or through links', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-bin-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await symlink(program, join(folder, 'first'))
  await symlink('first', join(folder, 'kubelet'))
  t.equal((await systemExec.run([program, '--version'])).stdout.trim(), `nodelet ${version}`)
  t.equal((await systemExec.run([join(folder, 'kubelet'), '--version'])).stdout.trim(), `Kubernetes v1.36.3+nodelet.${version}`)
})

t.test('what is called or configured in a wrong way is one line that says what, and what would be right', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-bin-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const kubelet = join(folder, 'kubelet.yaml')
  await writeFile(kubelet, 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPod: 30\n')
  const broken = join(folder, 'broken.yaml')
  await writeFile(broken, 'a: [\n')
  const none = join(folder, 'none.yaml')
  const calls: readonly (readonly [string, readonly string[], string | RegExp])[] = [
    ['an unknown flag', ['agent', '--no-such-flag'], 'nodelet agent: --no-such-flag: unknown flag'],
    ['a value that is none', ['agent', '--max-pods=many'], 'nodelet agent: --max-pods: "many": want a whole number'],
    [
      'an unknown field',
      ['agent', '--config', kubelet],
      `nodelet agent: ${kubelet}: maxPod: 30: unknown field; did you mean "maxPods"?`,
    ],
    ['a file that is not there', ['agent', '--config', none], `nodelet agent: --config: ${none}: no such file`],
    ['a file that is no YAML', ['agent', '--config', broken], /^nodelet agent: .*broken\.yaml: line 2: .+$/],
    [
      'a file of another kind',
      ['agent', '--nodelet-config', kubelet],
      /kubelet\.yaml: want apiVersion: nodelet\.dev\/v1alpha1, .+$/,
    ],
    ["a flag of kube-proxy's", ['proxy', '--bind-address=x'], 'nodelet proxy: --bind-address: "x": want an IPv4 or IPv6 address'],
  ]
  const results = await Promise.all(calls.map(([, argv]) => systemExec.try([program, ...argv])))
  for (const [index, [name, , expected]] of calls.entries()) {
    const { exitCode, stdout, stderr } = results[index]!
    t.match({ exitCode, stdout, stderr }, { exitCode: 2, stdout: '', stderr: expected }, name)
    t.notMatch(stderr, '\n', `${name}: one line`)
  }
})

t.test('the proxy alone writes its configuration where it is told to', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-bin-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const file = join(folder, 'written.yaml')
  const done = await systemExec.try([program, 'proxy', '--proxy-mode=nftables', `--write-config-to=${file}`])
  t.match(done, { exitCode: 0, stdout: '', stderr: '' })
  t.match(await readFile(file, 'utf8'), /^apiVersion: kubeproxy\.config\.k8s\.io\/v1alpha1\nkind: KubeProxyConfiguration\n/)
})
