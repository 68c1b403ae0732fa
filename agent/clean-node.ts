// `nodelet agent --cleanup`: takes away what the daemon made and says what that was, a line each on stdout; main.ts has
// made sure that no daemon runs, which would make it again.
// Goes on past what fails and ends with 1 then; what is gone already is fine, so it can be run again. What proxy/ and cni/ made is
// handed in by main.ts, which alone may know them.
import { mkdir, rm, rmdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Cri } from '../api/cri/cri.ts'
import { createStore } from '../api/source.ts'
import { systemClock as clock } from '../host/clock.ts'
import { systemExec as exec } from '../host/exec.ts'
import { describe } from '../host/fault.ts'
import { createLink } from '../host/link.ts'
import type { Log } from '../host/log.ts'
import { createNft } from '../host/nft.ts'
import { kubeletVersion } from '../host/version.ts'
import { cleanupPods } from './cleanup.ts'
import type { AgentConfig } from './config/agent-config.ts'
import { createMachinery } from './machinery.ts'
import { clusterDnsOf } from './pod-agent.ts'
import { removeNodeRoutes } from './routes/node-routes.ts'
import { type CniFolders, readCgroupDriver, readCniFolders } from './runtime-facts.ts'
import { removeOwnAddresses } from './standalone/dns/own-address.ts'
import { dnsTable, releaseOwnPort } from './standalone/dns/own-port.ts'
import { podsDir } from './volumes/paths.ts'

/** What other parts made; each removes it and says what it was. */
export interface OthersCleanup {
  serviceRules(): Promise<readonly string[]>
  podNetwork(): Promise<readonly string[]>
  plugin(folders: CniFolders): Promise<readonly string[]>
}

export interface CleanNodeDeps {
  readonly config: AgentConfig
  readonly runtime: Cri
  readonly others: OthersCleanup
  readonly log: Log
  readonly out: (line: string) => void
  readonly err: (line: string) => void
}

const removeDns = async (config: AgentConfig): Promise<readonly string[]> => {
  const nft = createNft(exec)
  const hadTable = (await nft.list(['list', 'tables'])).split('\n').includes(`table ${dnsTable}`)
  if (hadTable) await releaseOwnPort(nft)
  const addresses = await removeOwnAddresses(createLink(exec), clusterDnsOf(config))
  return [...(hadTable ? [`nftables table ${dnsTable}`] : []), ...addresses.map(address => `address ${address} of cluster DNS`)]
}

const removeFiles = async (paths: readonly string[]): Promise<readonly string[]> => {
  const there: string[] = []
  for (const path of paths) {
    if ((await stat(path).catch(() => undefined)) === undefined) continue
    await rm(path, { recursive: true, force: true })
    there.push(path)
  }
  return there
}

/** Folders that others may use as well go when nothing is in them; no line is said of them, a cleanup itself makes some in passing. */
const removeEmptyFolders = async (paths: readonly string[]): Promise<void> => {
  for (const path of paths) await rmdir(path).catch(() => undefined)
}

/**
 * Cleans the node.
 * @returns the exit code: 1 when something could not be removed
 */
export const cleanNode = async ({ config, runtime, others, log, out, err }: CleanNodeDeps): Promise<number> => {
  let failures = 0
  const removed = (what: string) => out(`removed ${what}`)
  const failed = (what: string) => {
    failures += 1
    err(`could not remove ${what}`)
  }
  const attempt = (what: string, work: () => Promise<readonly string[]>) =>
    work().then(
      all => all.forEach(removed),
      error => failed(`${what}: ${describe(error)}`),
    )
  const nobody = createStore<never>()
  const cgroupDriver = config.cgroupDriverGiven
    ? config.cgroupDriver
    : await readCgroupDriver(runtime).catch(() => config.cgroupDriver)
  // The parts look at its file system; an earlier cleanup has taken it away.
  await mkdir(config.rootDir, { recursive: true, mode: 0o700 })
  const { volumes, cgroups, containersDir } = await createMachinery({
    ...{
      config,
      runtime,
      cgroupDriver,
      configMaps: nobody,
      secrets: nobody,
      version: kubeletVersion,
      addresses: [],
      exec,
      clock,
      log,
    },
  })
  const folders = await readCniFolders(runtime).catch(() => undefined)
  const { binDir = folders?.binDir, confDir = folders?.confDir } = config.cni
  await cleanupPods({ runtime, volumes, cgroups, podLogsDir: config.podLogsDir, containersDir, removed, failed })
  await attempt('Service rules', others.serviceRules)
  await attempt('the pod network', others.podNetwork)
  await attempt('routes to other nodes', () => removeNodeRoutes(createLink(exec)))
  await attempt('cluster DNS', () => removeDns(config))
  if (binDir !== undefined && confDir !== undefined) await attempt('the network plugin', () => others.plugin({ binDir, confDir }))
  await attempt('the files of the daemon', () => removeFiles([config.stateDir, config.socket]))
  await removeEmptyFolders([podsDir(config.rootDir), config.rootDir, config.podLogsDir, containersDir, dirname(config.socket)])
  return failures === 0 ? 0 : 1
}
