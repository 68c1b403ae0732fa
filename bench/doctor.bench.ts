// `nodelet doctor` of the release on this machine, from its start to its end. Prints a figure; needs root, as the program does.
import { systemClock as clock } from '../host/clock.ts'
import { systemExec } from '../host/exec.ts'
import { median, print } from './figure.ts'
import { createRelease } from './release.ts'

const repetitions = 9

const release = await createRelease()
try {
  const times: number[] = []
  for (let index = 0; index <= repetitions; index++) {
    const began = clock.monotonic()
    // Its exit code says whether something is in the way of a node here, which is no part of this.
    const { stdout } = await systemExec.try([release.program, 'doctor', '-o', 'json'])
    JSON.parse(stdout)
    // The first compiles itself.
    if (index > 0) times.push(clock.monotonic() - began)
  }
  print({ figure: 'nodelet doctor', unit: 'ms', ours: median(times), under: 2000, of: repetitions })
} finally {
  await release.remove()
}
