import t from 'tap'
import { cgroupPath, childOf, sliceOf, toCgroupName } from './cgroup-name.ts'

const pod = ['kubepods', 'burstable', 'pod1234-5678']

for (const [name, given, driver, expected] of [
  ['cgroupfs joins parts', pod, 'cgroupfs', '/kubepods/burstable/pod1234-5678'],
  [
    'systemd spells each step out, with dashes in parts escaped',
    pod,
    'systemd',
    '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1234_5678.slice',
  ],
  ['a root of our own comes first', ['lab-n1', 'kubepods'], 'systemd', '/lab_n1.slice/lab_n1-kubepods.slice'],
  ['the root is a slash in both', [], 'systemd', '/'],
] as const) {
  t.test(name, async t => t.equal(cgroupPath(given, driver), expected))
}

t.test('the unit is the last step', async t => {
  t.equal(sliceOf(pod), 'kubepods-burstable-pod1234_5678.slice')
  t.equal(sliceOf([]), '-.slice')
})

t.test('flags are read with and without slashes', async t => {
  t.same(toCgroupName('/lab-n1/'), ['lab-n1'])
  t.same(toCgroupName('/'), [])
  t.same(toCgroupName(''), [])
})

for (const [name, directory, parent, driver, expected] of [
  ['a directory of cgroupfs is the part', 'pod1-2', ['kubepods'], 'cgroupfs', 'pod1-2'],
  ['a slice gives its part back', 'kubepods-burstable-pod1_2.slice', ['kubepods', 'burstable'], 'systemd', 'pod1-2'],
  ['a slice further down is no child', 'kubepods-burstable-pod1_2.slice', ['kubepods'], 'systemd', undefined],
  ['a scope is none', 'cri-containerd-abc.scope', ['kubepods'], 'systemd', undefined],
  ['nor is a slice of others', 'system-getty.slice', ['kubepods'], 'systemd', undefined],
] as const) {
  t.test(name, async t => t.equal(childOf(directory, parent, driver), expected))
}
