import t from 'tap'
import { readValue, readView, withSetting, withWish } from './containerd-text.ts'

const debian = `version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
`

const cri = ['plugins', 'io.containerd.grpc.v1.cri']
const runc = [...cri, 'containerd', 'runtimes', 'runc']

t.test('a setting is added to its table, and nothing else is touched', async t => {
  const text = withSetting(debian, { table: cri, key: 'sandbox_image', value: '"pause:1"' })
  t.equal(readValue(text, cri, 'sandbox_image'), '"pause:1"')
  t.same(
    text.split('\n').filter(line => !line.includes('sandbox_image')),
    debian.split('\n'),
  )
})

t.test('a setting that is there gets its value where it stands', async t => {
  const text = withSetting(debian, { table: [...cri, 'cni'], key: 'bin_dir', value: '"/opt/cni/bin"' })
  t.equal(text, debian.replace('"/usr/lib/cni"', '"/opt/cni/bin"'))
})

t.test('a table that is not there is added at the end', async t => {
  const text = withSetting(debian, { table: [...runc, 'options'], key: 'SystemdCgroup', value: 'true' })
  t.ok(text.startsWith(debian.trimEnd()))
  t.match(text, '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\n  SystemdCgroup = true\n')
})

t.test('keys of the same name in other tables, comments and lists over several lines are kept apart', async t => {
  const text = `# SystemdCgroup = true
disabled_plugins = [
  "cri", # Docker's package
  "aufs",
]
version = 2
[a]
  SystemdCgroup = false
[b."SystemdCgroup"]
`
  t.equal(readValue(text, [], 'version'), '2')
  t.equal(readValue(text, [], 'SystemdCgroup'), undefined)
  const after = withSetting(text, { table: [], key: 'disabled_plugins', value: '["aufs"]' })
  t.match(after, '# SystemdCgroup = true\ndisabled_plugins = ["aufs"]\nversion = 2\n')
})

t.test('what containerd says of itself', async t => {
  const dump = withWish(debian, debian, { systemdCgroup: true, sandboxImage: 'pause:1' }) ?? ''
  t.same(readView(dump), { version: 2, isCriDisabled: false, systemdCgroup: true, sandboxImage: 'pause:1' })
  t.match(readView('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'), { isCriDisabled: true })
  t.match(readView('version = 2\ndisabled_plugins = ["cri"]\n'), { isCriDisabled: true })
  const third = `version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'registry.k8s.io/pause:3.10'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
`
  t.same(readView(third), { version: 3, isCriDisabled: false, systemdCgroup: true, sandboxImage: 'registry.k8s.io/pause:3.10' })
})

t.test('wishes', async t => {
  const asked = { systemdCgroup: true, sandboxImage: 'pause:1' } as const
  t.test('are written in the words of the version that the file has', async t => {
    const text = withWish("version = 3\n[plugins.'io.containerd.cri.v1.images']\n", 'version = 3\n', asked) ?? ''
    t.match(readView(text), { systemdCgroup: true, sandboxImage: 'pause:1' })
  })
  t.test('make a file where there is none', async t => {
    t.match(withWish('', 'version = 3\n', asked), /^version = 2\n/)
  })
  t.test('leave the other plugins disabled', async t => {
    const text = withWish('version = 2\ndisabled_plugins = ["cri"]\n', 'version = 2\ndisabled_plugins = ["cri", "aufs"]\n', {
      enableCri: true,
    })
    t.equal(readValue(text ?? '', [], 'disabled_plugins'), '["aufs"]')
  })
  t.test('are not written into a file of version 1', async t =>
    t.equal(withWish('root = "/x"\n', 'version = 2\n', asked), undefined),
  )
  t.test('that are fulfilled change nothing the second time', async t => {
    const once = withWish(debian, debian, asked) ?? ''
    t.equal(withWish(once, once, asked), once)
  })
})
