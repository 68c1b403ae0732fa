// What the Go kubelet wants of a machine before it starts, for tests and benchmarks that run one beside ours.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'

/** The kubelet wants its cgroupRoot to be there; on version 1 in every hierarchy, with cpus and memory nodes. */
export const makeCgroupRoot = async (name: string): Promise<void> => {
  const root = '/sys/fs/cgroup'
  const hierarchies = (await readdir(root, { withFileTypes: true })).filter(it => it.isDirectory())
  for (const { name: hierarchy } of hierarchies)
    await mkdir(`${root}/${hierarchy}${name}`, { recursive: true }).catch(() => undefined)
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    const value = await readFile(`${root}/cpuset/${file}`, 'utf8').catch(() => undefined)
    if (value !== undefined) await writeFile(`${root}/cpuset${name}/${file}`, value)
  }
}
