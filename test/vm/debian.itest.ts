// What this machine's kernel cannot show, tried on a freshly booted Debian 12 in QEMU: the quickstart, limits on cgroup v2 with the
// systemd driver, Services on kernel 6.1, and a power cut. One boot (and one after the power cut) for all of it; each check that
// test/vm/guest reports becomes an assertion here.
// VM=limits,services runs these parts only: quickstart, kernel, ipvs, limits, services, restart.
import t from 'tap'
import { busyboxImage, pauseImage, webImage } from '../support/images.ts'
import { checkInVm } from '../support/vm-reports.ts'

const parts = (process.env['VM'] ?? '').split(',').filter(part => part !== '')
// A little less than what test/run.ts gives a file: the machine is still ended in order, and its console shown.
const limitMs = 1_140_000

t.setTimeout(limitMs + 30_000)

const argv = ['node', 'test/vm/guest/main.ts', ...parts]
await checkInVm(t, { argv, images: [pauseImage, busyboxImage, webImage], timeoutMs: limitMs })
