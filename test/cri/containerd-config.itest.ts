// What `nodelet install` writes into containerd's configuration, as containerd itself reads it: files of Debian, of Docker's package, of
// hand, and none at all. No daemon runs; `config dump` says what one would run with.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemExec } from '../../host/exec.ts'
import { readView, withWish } from '../../setup/containerd-text.ts'

const dir = await mkdtemp(join(tmpdir(), 'nlt-containerd-config-'))
t.teardown(() => rm(dir, { recursive: true }))

const dump = async (text: string): Promise<string> => {
  const file = join(dir, 'config.toml')
  await writeFile(file, text)
  return (await systemExec.run(['containerd', '--config', file, 'config', 'dump'])).stdout
}

const wish = { systemdCgroup: true, sandboxImage: 'registry.k8s.io/pause:3.10.1', enableCri: true } as const

const debian = `version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
`
const byHand = `# keep
disabled_plugins = []
version = 2
root = "/srv/containerd"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.gvisor]
  runtime_type = "io.containerd.runsc.v1"
`

for (const [name, text, kept] of [
  ["Debian's", debian, ['bin_dir = "/usr/lib/cni"', 'path = "/var/lib/containerd"']],
  ["that of Docker's package", '# Docker\ndisabled_plugins = ["cri"]\n\n#root = "/var/lib/containerd"\n', []],
  ['one of hand', byHand, ['root = "/srv/containerd"', 'runtime_type = "io.containerd.runsc.v1"']],
  ['none', '', []],
] as const) {
  t.test(`${name}: containerd has what was wished, and keeps what it had`, async t => {
    const defaults = 'version = 2\n'
    const before = await dump(text === '' ? defaults : text)
    const after = await dump(withWish(text, before, wish) ?? '')
    t.match(readView(after), { isCriDisabled: false, systemdCgroup: true, sandboxImage: wish.sandboxImage })
    for (const line of kept) t.ok(after.includes(line), line)
    const lines = (dumped: string) => new Set(dumped.split('\n').map(line => line.trim()))
    const news = [...lines(after).difference(lines(kept.length === 0 ? await dump(defaults) : before))].filter(
      it => !/^(\[|disabled_plugins|SystemdCgroup|sandbox_image|runtime_type|$)/.test(it),
    )
    t.same(news, [], 'nothing else is other than it was')
  })
}
