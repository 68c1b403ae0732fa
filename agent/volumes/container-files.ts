// The files a container is given beside its volumes: the pod's /etc/hosts and the file for its last words.
// Follows the kubelet for where they are and which modes they have.
import { randomBytes } from 'node:crypto'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Mount } from '../../api/cri/types.ts'
import type { Container, Pod } from '../../api/types.ts'
import { unlessMissing } from '../../host/errno.ts'
import { ensureDir } from '../../host/files.ts'
import { hostNetworkHostsFile, podHostsFile, podName } from '../hosts.ts'
import { containerDir, hostsFile } from './paths.ts'

const hostsPath = '/etc/hosts'
const defaultTerminationPath = '/dev/termination-log'

export interface ContainerFilesInput {
  readonly pod: Pod
  readonly container: Container
  readonly podDir: string
  readonly podIPs: readonly string[]
  readonly clusterDomain: string
  readonly nodeHostsFile: string
  readonly selinux: boolean
}

/**
 * Writes the pod's hosts file in place: other containers have this very file mounted, a new one would not reach them.
 * @returns nothing to mount before the pod has an address
 */
const hostsMount = async (input: ContainerFilesInput): Promise<Mount[]> => {
  const { pod, podIPs, clusterDomain } = input
  const onNode = pod.spec.hostNetwork === true
  if (!onNode && podIPs.length === 0) return []
  const path = hostsFile(input.podDir)
  const content = onNode
    ? hostNetworkHostsFile(pod, await readFile(input.nodeHostsFile, 'utf8'))
    : podHostsFile(pod, podName(pod, clusterDomain), podIPs)
  if ((await unlessMissing(readFile(path, 'utf8'))) !== content) await writeFile(path, content)
  await chmod(path, 0o644)
  return [{ containerPath: hostsPath, hostPath: path, selinuxRelabel: input.selinux }]
}

/** A new file for every start of the container: what an earlier one said is still to be read. */
const terminationMount = async ({ container, podDir, selinux }: ContainerFilesInput, path: string): Promise<Mount> => {
  const folder = containerDir(podDir, container.name)
  await ensureDir(folder, 0o750)
  const hostPath = join(folder, randomBytes(4).toString('hex'))
  await writeFile(hostPath, '', { flag: 'wx' })
  // whatever user the container runs as may write
  await chmod(hostPath, 0o666)
  return { containerPath: path, hostPath, selinuxRelabel: selinux }
}

/** The mounts for these files, without those that a volume of the container stands in for. */
export const containerFiles = async (input: ContainerFilesInput): Promise<Mount[]> => {
  const taken = new Set((input.container.volumeMounts ?? []).map(({ mountPath }) => mountPath))
  const messagePath = input.container.terminationMessagePath ?? defaultTerminationPath
  return [
    ...(taken.has(hostsPath) ? [] : await hostsMount(input)),
    ...(messagePath === '' || taken.has(messagePath) ? [] : [await terminationMount(input, messagePath)]),
  ]
}
