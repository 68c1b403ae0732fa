// /containerLogs, /run and /checkpoint: what is asked of one container and answered without an upgrade.
// Finds the container as the kubelet does and refuses in its words; logs are read by agent/logs.ts.
import { access, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cri } from '../../api/cri/cri.ts'
import { containerOf, namespaceOf } from '../../api/pod.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import { describe, except } from '../../host/fault.ts'
import { readLog } from '../logs.ts'
import { findAttempt, statusOf } from '../server/find.ts'
import type { NodeView } from '../server/view.ts'
import { type Answer, type Ask, json, notFound, refuse } from './answer.ts'
import { chooseContainer, parseLogQuery } from './log-options.ts'

export interface PodRouteDeps {
  readonly view: Pick<NodeView, 'pods' | 'logFolder'>
  readonly cri: Pick<Cri, 'containerStatus' | 'execSync' | 'checkpointContainer'>
  /** The folder that checkpoints are written to: checkpoints in the kubelet's root. */
  readonly checkpointsDir: string
  readonly clock: Clock
}

/** The pod of that name; of two lives of one name, the one that is not on its way out. */
export const podNamed = (pods: readonly Pod[], namespace = '', name = ''): Pod | undefined => {
  const found = pods.filter(it => namespaceOf(it) === namespace && it.metadata.name === name)
  return found.find(it => it.metadata.deletionTimestamp === undefined) ?? found.at(-1)
}

/** The id of the container if it runs: what has ended cannot be entered. */
export const runningContainer = (pod: Pod, container: string): string | undefined => {
  const status = statusOf(pod, container)
  return (status?.state?.running && status.containerID?.replace(/^.*:\/\//, '')) || undefined
}

export const noPod: Answer = refuse(404, 'pod does not exist')

/** Where the log of a container is: the runtime knows; for one that it has forgotten, its pod's folder may still tell. */
const findLog = async (
  pod: Pod,
  container: string,
  previous: boolean,
  id: string,
  { view, cri }: PodRouteDeps,
): Promise<string> => {
  const known = await except(cri.containerStatus(id), 'not-found')
  if (known?.status.logPath) return known.status.logPath
  const folder = join(view.logFolder(pod), container)
  const files = await readdir(folder).catch(() => [])
  return join(folder, `${findAttempt(pod, container, previous, files)}.log`)
}

/** GET /containerLogs/NAMESPACE/POD/CONTAINER. */
export const serveLogs = async ({ segments, query, signal }: Ask, deps: PodRouteDeps): Promise<Answer> => {
  const [, namespace, name = '', container = ''] = segments
  if (segments.length !== 4) return notFound
  const { view, clock } = deps
  const asked = parseLogQuery(query, clock.now())
  if ('refusal' in asked) return asked.refusal
  const pod = podNamed(view.pods(), namespace, name)
  if (pod === undefined) return refuse(404, `pod "${name}" does not exist`)
  if (containerOf(pod, container) === undefined) return refuse(404, `container "${container}" not found in pod "${name}"`)
  const { follow, previous, read } = asked.query
  const chosen = chooseContainer(pod, container, previous)
  if ('refusal' in chosen) return chosen.refusal
  const alive = () => {
    const now = view.pods().find(it => it.metadata.uid === pod.metadata.uid)
    return now !== undefined && runningContainer(now, container) === chosen.id
  }
  try {
    const path = await findLog(pod, container, previous, chosen.id, deps)
    // Before the answer begins: a followed log may have nothing to send for a long time, and its headers go at once.
    await access(path)
    return { status: 200, type: 'text/plain', body: readLog(path, read, follow ? { alive, clock, signal } : undefined) }
  } catch (error) {
    return refuse(400, describe(error))
  }
}

/** POST /run/NAMESPACE/POD[/UID]/CONTAINER?cmd=…: what a command wrote, stdout before stderr. */
export const serveRun = async ({ segments, query }: Ask, { view, cri }: PodRouteDeps): Promise<Answer> => {
  if (segments.length !== 4 && segments.length !== 5) return notFound
  const [, namespace, name] = segments
  const container = segments.at(-1) ?? ''
  const pod = podNamed(view.pods(), namespace, name)
  if (pod === undefined) return noPod
  const id = isUid(pod, segments.length === 5 ? segments[3] : undefined) ? runningContainer(pod, container) : undefined
  if (id === undefined) return refuse(500, `container not found ("${container}")`)
  const cmd = (query.get('cmd') ?? '').split(' ')
  const { exitCode, stdout, stderr } = await cri.execSync(id, cmd, 0)
  if (exitCode !== 0) return refuse(500, `command '${cmd.join(' ')}' exited with ${exitCode}: ${stderr}`)
  return { status: 200, type: 'application/json', body: Buffer.concat([stdout, stderr]) }
}

/** Whether a path that names a uid, which it need not, means this pod. */
export const isUid = (pod: Pod, uid: string | undefined): boolean => uid === undefined || uid === '' || uid === pod.metadata.uid

/** POST /checkpoint/NAMESPACE/POD/CONTAINER?timeout=SECONDS: the path of the archive that the runtime has written. */
export const serveCheckpoint = async ({ segments, query }: Ask, deps: PodRouteDeps): Promise<Answer> => {
  const [, namespace = '', name = '', container = ''] = segments
  if (segments.length !== 4) return notFound
  const pod = podNamed(deps.view.pods(), namespace, name)
  if (pod === undefined) return noPod
  if (containerOf(pod, container) === undefined) return refuse(404, `container ${container} does not exist`)
  const timeout = query.getAll('timeout').at(-1) ?? '0'
  if (!/^[+-]?\d+$/.test(timeout)) return refuse(404, 'cannot parse value of timeout parameter')
  const failed = (why: string) => refuse(500, `checkpointing of ${namespace}/${name}/${container} failed (${why})`)
  const id = runningContainer(pod, container)
  if (id === undefined) return failed(`container ${container} not found`)
  const at = new Date(deps.clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
  const location = join(deps.checkpointsDir, `checkpoint-${name}_${namespace}-${container}-${at}.tar`)
  try {
    await mkdir(deps.checkpointsDir, { recursive: true, mode: 0o700 })
    await deps.cri.checkpointContainer(id, location, Number(timeout))
  } catch (error) {
    return failed(describe(error))
  }
  return json({ items: [location] })
}
