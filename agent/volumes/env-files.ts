// Reads the files that fileKeyRef variables name, out of emptyDirs that containers write to: never through a link that
// leads out, never a pipe or a device, never without a bound. What they say is read by agent/env-file.ts.
// Follows k8s.io: KEP-3721 (Define Container Environment Variables Using Files).
import type { Container, Volume } from '../../api/types.ts'
import { describe, Fault, isFault } from '../../host/fault.ts'
import { readInside } from '../../host/files.ts'
import { envFileKey } from '../env.ts'

/** A file of variables is small; whatever is larger is not one. */
const maxBytes = 1024 * 1024

/**
 * The content of the files by `envFileKey`; those that are not there are left out.
 * @param dirOf the folder of a volume, or undefined when it is no emptyDir of the pod
 * @throws Fault `container-config` for a file that is there and cannot be read
 */
export const readEnvFiles = async (
  container: Container,
  dirOf: (volume: Volume['name']) => string | undefined,
): Promise<ReadonlyMap<string, string>> => {
  const files = new Map<string, string>()
  for (const { valueFrom } of container.env ?? []) {
    const ref = valueFrom?.fileKeyRef
    if (ref === undefined) continue
    const dir = dirOf(ref.volumeName)
    if (dir === undefined) continue
    try {
      files.set(envFileKey(ref.volumeName, ref.path), (await readInside(dir, ref.path, maxBytes)).toString('utf8'))
    } catch (error) {
      if (isFault(error, 'not-found')) continue
      const reason = 'CreateContainerConfigError'
      throw new Fault('container-config', `couldn't parse env file: ${describe(error)}`, { cause: error, reason })
    }
  }
  return files
}
