// `nodelet install`, `doctor` and `uninstall` of the one file that a release is, on a freshly booted Debian 12 in QEMU: a machine on its own
// with Pods and Services, restart and upgrade under load, a reboot, and a machine without it. What is checked stands in test/vm/guest/install.ts.
// INSTALL=refusals,node,reboot,uninstall names the parts; it runs these parts only.
import t from 'tap'
import { busyboxImage, pauseImage, webImage } from '../support/images.ts'
import { releaseForVm } from '../support/release.ts'
import { checkInVm } from '../support/vm-reports.ts'

const parts = process.env['INSTALL'] ?? 'refusals,node,reboot,uninstall'
// A little less than what test/run.ts gives a file.
const limitMs = 1_000_000

t.setTimeout(limitMs + 120_000)

await checkInVm(t, {
  argv: ['node', 'test/vm/guest/install-main.ts', parts],
  images: [pauseImage, busyboxImage, webImage],
  files: await releaseForVm(t),
  timeoutMs: limitMs,
})
