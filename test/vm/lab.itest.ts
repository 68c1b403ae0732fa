// The Vagrant lab without Vagrant: a control plane made by `kubeadm init` on a freshly booted Debian 12 in QEMU, with the Vagrantfile's own
// provisioning and memory. LAB_NODES=2 boots the lab's nodes beside it, and vagrant/try-services.sh walks through what Services do, in all
// three modes of the proxy: three emulated machines at once, a quarter of an hour. What is checked stands in test/vm/guest/lab.ts.
import t, { type Test } from 'tap'
import { createFabric } from '../support/fabric.ts'
import { busyboxImage, pauseImage } from '../support/images.ts'
import { kubeadmArchives } from '../support/kubeadm-images.ts'
import { peer } from '../support/peers.ts'
import { releaseForVm } from '../support/release.ts'
import { checkInVm } from '../support/vm-reports.ts'

const token = 'nodlab.0123456789abcdef'
const controlPlane = 10
const nodes = [11, 12].slice(0, Number(process.env['LAB_NODES'] ?? 0))
// For one machine a little less than what test/run.ts gives a file.
const limitMs = nodes.length === 0 ? 1_100_000 : 2_400_000

t.setTimeout(limitMs + 60_000)

const fabric = await createFabric()
t.teardown(fabric.close)
const archives = await kubeadmArchives()
const files = {
  ...(await releaseForVm(t)),
  ...{ 'bin/kubeadm': await peer('kubeadm'), 'bin/kubectl': await peer('kubectl') },
}
interface Machine {
  readonly host: number
  readonly name: string
  readonly memoryMiB: number
  readonly files?: Readonly<Record<string, string>>
  /** More of its guest's words. */
  readonly words: readonly string[]
}

const boot = async (t: Test, { host, name, memoryMiB, files: more, words }: Machine, onReport?: (check: string) => void) => {
  const argv = ['node', 'test/vm/guest/lab-main.ts', name, fabric.address(host), fabric.address(1), token, ...words]
  const machine = { argv, images: [pauseImage, busyboxImage], card: await fabric.card(host), files: { ...files, ...more } }
  await checkInVm(t, { ...machine, memoryMiB, timeoutMs: limitMs }, onReport)
}

const names = nodes.map((_, at) => `node${at + 1}`)
const images = Object.fromEntries(archives.map((path, at) => [`images/${at}.tar`, path]))
// One test for all machines: it is not over before the last of them.
await t.test('the lab', async t => {
  const isUp = Promise.withResolvers<void>()
  const first = boot(
    t,
    { host: controlPlane, name: 'control-plane', memoryMiB: 2560, files: images, words: names },
    check => check.includes('kubeadm init') && isUp.resolve(),
  ).finally(isUp.resolve)
  // as Vagrant does, one after the other: machines that wait would only take the processor from the one that works
  await isUp.promise
  await Promise.all([
    first,
    ...nodes.map((host, at) => boot(t, { host, name: names[at]!, memoryMiB: 1536, words: [fabric.address(controlPlane)] })),
  ])
})
