// fsGroup: the group that owns a volume's files, and may read them (and write, where the volume is not read-only).
// Follows k8s.io: Configure volume permission and ownership change policy for Pods; pkg/volume/volume_linux.go.
import type { Stats } from 'node:fs'
import { chmod, chown, lchown, stat as statOf } from 'node:fs/promises'
import { walkTree } from '../../host/files.ts'

export interface FsGroup {
  readonly gid: number
  /** True for volumes that containers only read: the group gets no right to write then. */
  readonly readOnly: boolean
  /** OnRootMismatch leaves a volume alone whose topmost folder is right already. Volumes that live as long as their pod ignore it. */
  readonly policy: 'Always' | 'OnRootMismatch'
}

/** The mode of a file or folder that its group may use; folders hand their group on to what is made in them. */
export const groupMode = (stat: Pick<Stats, 'mode' | 'isDirectory'>, readOnly: boolean): number =>
  (stat.mode & 0o7777) | (readOnly ? 0o440 : 0o660) | (stat.isDirectory() ? 0o2110 : 0)

const isRight = (stat: Stats, { gid, readOnly }: FsGroup): boolean =>
  stat.gid === gid && (stat.isSymbolicLink() || (stat.mode & 0o7777) === groupMode(stat, readOnly))

/** Gives all files of a volume to the group, the topmost folder last, so that one cut short is seen as not done. */
export const applyFsGroup = async (dir: string, group: FsGroup): Promise<void> => {
  if (group.policy === 'OnRootMismatch' && isRight(await statOf(dir), group)) return
  await walkTree(dir, async (path, stat) => {
    if (isRight(stat, group)) return
    if (stat.isSymbolicLink()) return lchown(path, stat.uid, group.gid)
    // first the owner: changing it takes set-id bits away
    await chown(path, stat.uid, group.gid)
    await chmod(path, groupMode(stat, group.readOnly))
  })
}
