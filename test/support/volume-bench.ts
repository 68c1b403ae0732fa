// A node's volumes on a real disk and a real mount table, in a mount namespace that ends with the test.
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { createVolumes, type Volumes, type VolumesDeps } from '../../agent/volumes/volumes.ts'
import type { Mount } from '../../api/cri/types.ts'
import { createStore, type Store } from '../../api/source.ts'
import type { ConfigMap, Container, Pod, PodSpec, Secret, Volume } from '../../api/types.ts'
import { systemClock } from '../../host/clock.ts'
import { systemExec } from '../../host/exec.ts'
import { silentLog } from '../../host/log.ts'
import { createMounts } from '../../host/mounts.ts'

/** Runs the test file again in a mount namespace of its own and ends with it; returns when it is in there. */
export const inOwnMounts = (testFile: string): void => {
  if (process.env['NLT_OWN_MOUNTS'] === '1') return
  const argv = ['--mount', '--propagation', 'private', process.execPath, testFile]
  const { status } = spawnSync('unshare', argv, { stdio: 'inherit', env: { ...process.env, NLT_OWN_MOUNTS: '1' } })
  process.exit(status ?? 1)
}

export const table = createMounts({ exec: systemExec })

export interface Bench {
  readonly base: string
  readonly root: string
  readonly volumes: Volumes
  readonly configMaps: Store<ConfigMap>
  readonly secrets: Store<Secret>
}

/** A node of its own below a folder that is gone after the test. */
export const bench = (t: Pick<Test, 'teardown'>, more: Partial<VolumesDeps> = {}): Bench => {
  const base = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'nlt-volumes-')))
  const root = join(base, 'kubelet')
  // nothing else keeps the process alive while the agent waits: its timers do not
  const awake = setInterval(() => undefined, 1000)
  t.teardown(async () => {
    clearInterval(awake)
    for (const { path } of await table.under(base)) await table.unmount(path, { lazy: true })
    fs.rmSync(base, { recursive: true, force: true })
  })
  const configMaps = createStore<ConfigMap>()
  const secrets = createStore<Secret>()
  const volumes = createVolumes({
    rootDir: root,
    exec: systemExec,
    clock: systemClock,
    log: silentLog,
    configMaps,
    secrets,
    allocatable: () => ({ cpu: '2', memory: '64Mi' }),
    clusterDomain: 'cluster.local',
    ...more,
  })
  return { base, root, volumes, configMaps, secrets }
}

export const podOf = (volumes: readonly Volume[], spec: Partial<PodSpec> = {}, container: Partial<Container> = {}): Pod => {
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/mnt/${name}` }))
  const main = { name: 'main', image: 'i', volumeMounts, ...container }
  return {
    metadata: { name: 'web', namespace: 'shop', uid: 'uid-1', labels: { app: 'web' } },
    spec: { containers: [main], volumes, ...spec },
  }
}
export const containerOf = (pod: Pod): Container => {
  const [container] = pod.spec.containers
  if (container === undefined) throw new Error('a pod of these tests has a container')
  return container
}
export const dirOf = ({ root }: Bench, plugin: string, volume: string) =>
  join(root, 'pods/uid-1/volumes', `kubernetes.io~${plugin}`, volume)
export const modeOf = (path: string) => (fs.statSync(path).mode & 0o7777).toString(8)
export const read = (path: string) => fs.readFileSync(path, 'utf8')
export const mountsOf = async ({ volumes }: Bench, pod: Pod): Promise<readonly Mount[]> =>
  (await volumes.mounts(pod, containerOf(pod), [], { podIPs: ['10.1.0.5'] })).mounts
export const secretOf = (data: Record<string, string>): Secret => ({
  metadata: { namespace: 'shop', name: 'keys' },
  data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')])),
})
export const confOf = (data: Record<string, string>): ConfigMap => ({ metadata: { namespace: 'shop', name: 'conf' }, data })
