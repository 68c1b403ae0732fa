// Puts the plugin where the runtime looks: the executable, also as `loopback` where none is, and a configuration where no other
// stands. Files come into being complete and with their mode, and are left alone when they are right already.
import { access, chmod, constants, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Fault } from '../host/fault.ts'
import type { RangeText } from './conf.ts'
import { curlShim, perlShim, plainShim, type ShimPaths, shimMarker } from './shim.ts'

export const conflistName = '10-nodelet.conflist'

export interface InstallOptions extends ShimPaths {
  readonly binDir: string
  readonly confDir: string
  /** The node's pod ranges, one or one of each family; without any no configuration is written. */
  readonly podCIDRs: readonly string[]
  readonly dataDir?: string
  readonly bridge?: string
  readonly mtu?: number
  /** Destinations that see pods with their own address, such as the cluster's range. */
  readonly nonMasqueradeCIDRs?: readonly string[]
  /** Where to look for perl and curl; default /usr/bin. */
  readonly programDir?: string
}

export interface Installed {
  readonly plugin: 'written' | 'kept'
  /** `foreign`: another plugin of this name is there and stays. */
  readonly loopback: 'written' | 'kept' | 'foreign'
  /** `foreign`: another network configuration stands; `none`: no range is known yet. */
  readonly conflist: 'written' | 'kept' | 'foreign' | 'none'
}

const readOrNothing = (file: string): Promise<string | undefined> => readFile(file, 'utf8').catch(() => undefined)

const isExecutable = (file: string): Promise<boolean> =>
  access(file, constants.X_OK).then(
    () => true,
    () => false,
  )

const put = async (file: string, text: string, mode: number): Promise<'written' | 'kept'> => {
  if ((await readOrNothing(file)) === text && (mode & 0o111) === 0) return 'kept'
  if ((await readOrNothing(file)) === text && (await isExecutable(file))) return 'kept'
  const aside = `${file}.new-${process.pid}`
  try {
    await writeFile(aside, text, { mode })
    // The mode of writeFile passes the umask.
    await chmod(aside, mode)
    await rename(aside, file)
  } catch (cause) {
    await rm(aside, { force: true })
    throw new Fault('io', `${file} could not be written`, { cause })
  }
  return 'written'
}

const shimFor = async (options: InstallOptions): Promise<string> => {
  const { programDir = '/usr/bin' } = options
  if (await isExecutable(join(programDir, 'perl'))) return perlShim(join(programDir, 'perl'), options)
  if (await isExecutable(join(programDir, 'curl'))) return curlShim(join(programDir, 'curl'), options)
  return plainShim(options)
}

/** The text of our configuration. One entry does bridge, addresses, masquerade, hostPorts and bandwidth. */
export const conflistText = (
  options: Pick<InstallOptions, 'podCIDRs' | 'dataDir' | 'bridge' | 'mtu' | 'nonMasqueradeCIDRs'>,
): string => {
  const { podCIDRs, dataDir, bridge, mtu, nonMasqueradeCIDRs } = options
  const ranges: readonly (readonly RangeText[])[] = podCIDRs.map(subnet => [{ subnet }])
  const plugin = {
    type: 'nodelet',
    ranges,
    ...(bridge !== undefined && { bridge }),
    ...(mtu !== undefined && { mtu }),
    ...(dataDir !== undefined && { dataDir }),
    ...(nonMasqueradeCIDRs !== undefined && { nonMasqueradeCIDRs }),
    ipMasq: true,
    hairpinMode: true,
    capabilities: { portMappings: true, bandwidth: true },
  }
  // containerd 1.6 knows no CNI 1.1.
  return `${JSON.stringify({ cniVersion: '1.0.0', name: 'nodelet', plugins: [plugin] }, null, 2)}\n`
}

const installConflist = async (options: InstallOptions): Promise<Installed['conflist']> => {
  const { confDir, podCIDRs } = options
  await mkdir(confDir, { recursive: true })
  const others = (await readdir(confDir)).filter(name => /\.(conf|conflist|json)$/.test(name) && name !== conflistName)
  if (others.length > 0) return 'foreign'
  if (podCIDRs.length === 0) return 'none'
  return put(join(confDir, conflistName), conflistText(options), 0o644)
}

/**
 * Installs the plugin, or brings what an earlier version installed up to date.
 * @throws Fault `io` that names the file; `bad-config` for a path that cannot stand in the executable
 */
export const installPlugin = async (options: InstallOptions): Promise<Installed> => {
  const { binDir } = options
  await mkdir(binDir, { recursive: true })
  const shim = await shimFor(options)
  const plugin = await put(join(binDir, 'nodelet'), shim, 0o755)
  const present = await readOrNothing(join(binDir, 'loopback'))
  const loopback =
    present !== undefined && !present.includes(shimMarker) ? 'foreign' : await put(join(binDir, 'loopback'), shim, 0o755)
  // The configuration comes last: once it is there, the runtime calls.
  return { plugin, loopback, conflist: await installConflist(options) }
}

/** Takes away what `installPlugin` put there and nothing else. @returns the files removed */
export const uninstallPlugin = async ({
  binDir,
  confDir,
}: Pick<InstallOptions, 'binDir' | 'confDir'>): Promise<readonly string[]> => {
  const files = [join(confDir, conflistName), join(binDir, 'nodelet'), join(binDir, 'loopback')]
  const removed: string[] = []
  for (const file of files) {
    const text = await readOrNothing(file)
    if (text === undefined || !(text.includes(shimMarker) || file.endsWith(conflistName))) continue
    await rm(file, { force: true })
    removed.push(file)
  }
  return removed
}
