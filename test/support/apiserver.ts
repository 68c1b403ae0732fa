// Debian's etcd and the Go kube-apiserver in a host's namespace, for whoever brings the flags: a whole control plane or a benchmark that
// needs nothing but something to watch. The apiserver can be stopped alone and started again on what etcd holds.
import { readFile } from 'node:fs/promises'
import type { Netns } from './netns.ts'
import { peer } from './peers.ts'
import { type Program, startProgram } from './programs.ts'
import { waitFor } from './wait.ts'

/** The range of the Services' addresses. */
export const serviceRange = '10.96.0.0/16'
export const apiserverPort = 6443

export interface ApiserverOptions {
  readonly netns: Netns
  readonly address: string
  /** Data and logs. */
  readonly dir: string
  /** Flags beside those that are the same for everybody. */
  readonly flags: readonly string[]
  /** Resolves to something truthy when the apiserver is ready; a throw counts as not yet. */
  readonly isReady: () => Promise<unknown>
}

export interface Apiserver {
  /** Waits until it is ready; one that runs is left alone. */
  start(): Promise<void>
  /** As kill -9 does: asked politely it waits a minute for those who watch. */
  stop(): Promise<void>
}

/** Starts both and waits until the apiserver is ready. The namespace ends what runs in it. */
export const createApiserver = async ({ netns, address, dir, flags, isReady }: ApiserverOptions): Promise<Apiserver> => {
  const program = await peer('kube-apiserver')
  const etcd = ['etcd', '--data-dir', `${dir}/etcd`, '--unsafe-no-fsync', '--log-level', 'warn']
  await startProgram({ netns, log: `${dir}/etcd.log`, argv: etcd })
  const argv = [
    program,
    ...[`--advertise-address=${address}`, `--secure-port=${apiserverPort}`, '--etcd-servers=http://127.0.0.1:2379'],
    ...[`--service-cluster-ip-range=${serviceRange}`, ...flags],
  ]
  const log = `${dir}/kube-apiserver.log`
  let running: Program | undefined
  const start = async () => {
    if (running !== undefined) return
    running = await startProgram({ netns, log, argv })
    await waitFor('the apiserver', isReady, 60_000).catch(async error => {
      throw new Error((await readFile(log, 'utf8')).split('\n').slice(-15).join('\n'), { cause: error })
    })
  }
  await start()
  const stop = async () => {
    await running?.end()
    running = undefined
  }
  return { start, stop }
}
