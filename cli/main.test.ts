import { mkdtemp, rm, symlink } from 'node:fs/promises'
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
    { do: 'refuse', text: 'nodelet: "frob": unknown command: want one of agent, proxy, cni, get, logs, exec, why\n' },
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

t.test('a wrong call ends with 2 and a line on stderr', async t => {
  const { exitCode, stderr } = await systemExec.try([program, 'proxy', '--bind-address=x'])
  t.equal(exitCode, 2)
  t.equal(stderr.trim(), 'nodelet proxy: --bind-address: "x": want an IPv4 or IPv6 address')
})
