// `kubeadm join` and `kubeadm reset`, unchanged, on a freshly booted Debian 12 in QEMU whose network card leads to a real control plane:
// the kubelet that kubeadm finds, starts and waits for is nodelet's package. Then a Go kubelet takes the node over and gives it back, and after
// the reset `nodelet install --join` makes the machine a node once more. What is checked stands in test/vm/guest/join.ts.
// JOIN=join,reset runs these parts only: join, restart, switch, takeover, reset, install.
import t from 'tap'
import { createControlPlane } from '../support/control-plane.ts'
import { busyboxImage, pauseImage, webImage } from '../support/images.ts'
import { openForJoin } from '../support/kubeadm.ts'
import { type Peer, peer } from '../support/peers.ts'
import { releaseForVm } from '../support/release.ts'
import { checkInVm } from '../support/vm-reports.ts'

const parts = process.env['JOIN'] ?? 'join,restart,switch,takeover,reset,install'
// A little less than what test/run.ts gives a file.
const limitMs = 1_000_000
const host = 21
const programs: readonly Peer[] = ['kubeadm', 'kubectl', 'kubelet', 'kube-proxy']
const rbac = new URL('../../deploy/rbac.yaml', import.meta.url).pathname

t.setTimeout(limitMs + 60_000)

const controlPlane = await createControlPlane()
t.teardown(controlPlane.close)
const { fabric, kubectl, kubeconfig } = controlPlane
const words = await openForJoin(controlPlane)
await kubectl(['apply', '-f', rbac])
const files = Object.fromEntries(await Promise.all(programs.map(async it => [`bin/${it}`, await peer(it)])))
await checkInVm(t, {
  argv: ['node', 'test/vm/guest/join-main.ts', parts, fabric.address(host), fabric.address(1), ...words],
  images: [pauseImage, busyboxImage, webImage],
  card: await fabric.card(host),
  files: {
    ...files,
    ...(await releaseForVm(t)),
    'admin.conf': kubeconfig,
    'kube-proxy.conf': await controlPlane.credentials({ user: 'system:kube-proxy' }),
  },
  timeoutMs: limitMs,
})
