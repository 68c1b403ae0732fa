// The file system of a block device: looked for, made where there is none, checked and mounted. Never makes one over anything that is there.
// Follows the kubelet's FormatAndMount (k8s.io/mount-utils) for the order, the programs and their options.
import { rmdir } from 'node:fs/promises'
import type { Exec } from '../../host/exec.ts'
import { Fault } from '../../host/fault.ts'
import { ensureDir } from '../../host/files.ts'
import type { Mounts } from '../../host/mounts.ts'

export interface DiskDeps {
  readonly exec: Pick<Exec, 'run' | 'try'>
  readonly mounts: Pick<Mounts, 'isMountPoint' | 'fileSystem'>
}

export interface DiskWish {
  readonly device: string
  readonly target: string
  readonly fsType: string
  readonly readOnly: boolean
  readonly options: readonly string[]
}

/** Large disks take their time. */
const toolMs = 600_000

const fail = (message: string): Fault => new Fault('volume', message)

/** What blkid(8) finds on a device: '' when there is nothing at all. @throws Fault when it holds partitions or cannot be read */
const formatOf = async (exec: DiskDeps['exec'], device: string): Promise<string> => {
  const { exitCode, stdout, stderr } = await exec.try(['blkid', '-p', '-s', 'TYPE', '-s', 'PTTYPE', '-o', 'export', device])
  // its way of saying that it found nothing
  if (exitCode === 2) return ''
  if (exitCode !== 0) throw fail(`could not determine what is on ${device}: ${stderr.trim()}`)
  const found = new Map(stdout.split('\n').map(line => line.split('=', 2) as [string, string | undefined]))
  const type = found.get('TYPE') ?? ''
  if (type === '' && found.has('PTTYPE')) throw fail(`${device} holds partitions and no file system; name one of them`)
  return type
}

const makeOptions: Readonly<Record<string, readonly string[]>> = { ext3: ['-F', '-m0'], ext4: ['-F', '-m0'], xfs: ['-f'] }

const makeFileSystem = async (exec: DiskDeps['exec'], fsType: string, device: string): Promise<void> => {
  if (!/^[a-z0-9._]+$/.test(fsType))
    throw new Fault('volume', `${JSON.stringify(fsType)} is no file system type`, { retry: 'never' })
  await exec.run([`mkfs.${fsType}`, ...(makeOptions[fsType] ?? []), device], { timeoutMs: toolMs })
}

/** 1: it was repaired; 4: it could not be. What else goes wrong, a missing program too, is the mount's to find out. */
const checkFileSystem = async (exec: DiskDeps['exec'], device: string): Promise<void> => {
  const result = await exec.try(['fsck', '-a', device], { timeoutMs: toolMs }).catch(() => undefined)
  if (result?.exitCode === 4)
    throw fail(`fsck found errors on device ${device} but could not correct them: ${result.stdout.trim()}`)
}

/** Mounts the device's file system unless it is mounted there already. @throws Fault `volume` or `command` */
export const mountDisk = async ({ exec, mounts }: DiskDeps, wish: DiskWish): Promise<void> => {
  const { device, target, fsType, readOnly, options } = wish
  if (await mounts.isMountPoint(target)) return
  const present = await formatOf(exec, device)
  if (present === '' && readOnly) throw fail(`cannot mount unformatted disk ${device} as it is read-only`)
  if (present === '') await makeFileSystem(exec, fsType, device)
  else if (!readOnly) await checkFileSystem(exec, device)
  await ensureDir(target, 0o750)
  try {
    await mounts.fileSystem(fsType, device, target, [...(readOnly ? ['ro'] : []), ...options, 'defaults'])
  } catch (error) {
    await rmdir(target).catch(() => undefined)
    throw error
  }
}
