// Limits on cgroup v2 with the systemd driver: what the files of pods and containers hold, that systemd knows of them, that the kernel
// keeps to them, and that nothing stays. Figures are those of a kubelet: shares of cpu become weights of cgroup v2.
import { deepEqual, match, ok } from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Pod } from '../../../api/types.ts'
import { systemExec } from '../../../host/exec.ts'
import { idle, podOf, script } from '../../support/manifests.ts'
import { isReady, statusOf } from '../../support/node.ts'
import { waitFor } from '../../support/wait.ts'
import { execIn, gone, putManifest, removeManifest, until } from './node.ts'
import { check } from './report.ts'

const kubepods = '/sys/fs/cgroup/kubepods.slice'
const sleepers = { guaranteed: 'guaranteed-vm', burstable: 'burstable-vm', besteffort: 'besteffort-vm' } as const

const both = (cpu: string, memory: string) => ({ resources: { requests: { cpu, memory }, limits: { cpu, memory } } })
const Mi = 1024 ** 2

const pods = [
  podOf('guaranteed', [idle({ name: 'one', ...both('250m', '64Mi') }), idle({ name: 'two', ...both('150m', '32Mi') })]),
  podOf('burstable', idle({ resources: { requests: { cpu: '100m' }, limits: { memory: '128Mi' } } })),
  podOf('besteffort', idle()),
]

/** The folder of a pod's slice: systemd's names repeat those above, and have no dashes of the uid. */
const sliceOf = (pod: Pod): string => {
  const uid = (pod.metadata.uid ?? '').replaceAll('-', '_')
  const qos = pod.status?.qosClass?.toLowerCase()
  return qos === 'guaranteed'
    ? join(kubepods, `kubepods-pod${uid}.slice`)
    : join(kubepods, `kubepods-${qos}.slice`, `kubepods-${qos}-pod${uid}.slice`)
}

const scopeOf = (pod: Pod, container?: string): string =>
  join(sliceOf(pod), `cri-containerd-${statusOf(pod, container)?.containerID?.replace('containerd://', '')}.scope`)

const limitFiles = ['cpu.weight', 'cpu.max', 'memory.max', 'pids.max'] as const
type Limits = Readonly<Partial<Record<(typeof limitFiles)[number], string>>>

const readLimits = async (cgroup: string, wanted: Limits): Promise<Limits> =>
  Object.fromEntries(
    await Promise.all(
      Object.keys(wanted).map(async file => [file, (await readFile(join(cgroup, file), 'utf8')).trim()] as const),
    ),
  )

const unlimited = { 'cpu.max': 'max 100000', 'memory.max': 'max' }

// cpu.weight of m milli-cpus is 1 + (m * 1024 / 1000 - 2) * 9999 / 262142, down to an integer
const table: readonly (readonly [string, keyof typeof sleepers, string | undefined, Limits])[] = [
  [
    'a Guaranteed pod has the sum of its containers',
    'guaranteed',
    undefined,
    { 'cpu.weight': '16', 'cpu.max': '40000 100000', 'memory.max': `${96 * Mi}`, 'pids.max': '64' },
  ],
  [
    'each of its containers has its own',
    'guaranteed',
    'one',
    { 'cpu.weight': '10', 'cpu.max': '25000 100000', 'memory.max': `${64 * Mi}` },
  ],
  ['and so has the other', 'guaranteed', 'two', { 'cpu.weight': '6', 'cpu.max': '15000 100000', 'memory.max': `${32 * Mi}` }],
  [
    'a Burstable pod weighs what it asks for and has the limits that are named',
    'burstable',
    undefined,
    { ...unlimited, 'cpu.weight': '4', 'memory.max': `${128 * Mi}`, 'pids.max': '64' },
  ],
  ['so does its container', 'burstable', 'c', { ...unlimited, 'cpu.weight': '4', 'memory.max': `${128 * Mi}` }],
  [
    'a BestEffort pod weighs as little as possible',
    'besteffort',
    undefined,
    { ...unlimited, 'cpu.weight': '1', 'pids.max': '64' },
  ],
  ['so does its container', 'besteffort', 'c', { ...unlimited, 'cpu.weight': '1' }],
]

const limitFileChecks = async () => {
  for (const [name, which, container, wanted] of table)
    await check(`limits: ${name}`, async () => {
      const pod = await until(sleepers[which], isReady)
      deepEqual(await readLimits(container === undefined ? sliceOf(pod) : scopeOf(pod, container), wanted), wanted)
    })
  await check('limits: the classes weigh what their pods ask for', async () => {
    const weights = () =>
      Promise.all(
        ['burstable', 'besteffort'].map(qos => readLimits(join(kubepods, `kubepods-${qos}.slice`), { 'cpu.weight': '' })),
      )
    const wanted = [{ 'cpu.weight': '4' }, { 'cpu.weight': '1' }]
    // they follow the pods; pods do not wait for them
    await waitFor('weights of the classes', async () => isDeepStrictEqual(await weights(), wanted)).catch(() => undefined)
    deepEqual(await weights(), wanted)
  })
  await check('limits: systemd holds the same limits, and keeps them when it reads its configuration anew', async () => {
    const slice = sliceOf(await until(sleepers.guaranteed, isReady))
    const unit = slice.split('/').at(-1) ?? ''
    const show = ['systemctl', 'show', unit, '--property', 'ActiveState,MemoryMax,TasksMax,CPUQuotaPerSecUSec']
    const { stdout } = await systemExec.run(show)
    const wanted = ['ActiveState=active', 'CPUQuotaPerSecUSec=400ms', `MemoryMax=${96 * Mi}`, 'TasksMax=64']
    deepEqual(stdout.trim().split('\n').sort(), wanted)
    await systemExec.run(['systemctl', 'daemon-reload'])
    deepEqual(await readLimits(slice, { 'memory.max': '', 'cpu.max': '' }), {
      'memory.max': `${96 * Mi}`,
      'cpu.max': '40000 100000',
    })
  })
}

const keptChecks = async () => {
  await check('limits: a container that takes more memory than it may is OOMKilled', async () => {
    const greedy = script('exec tail /dev/zero', { command: ['tail', '/dev/zero'], resources: { limits: { memory: '16Mi' } } })
    await putManifest('greedy.json', podOf('greedy', greedy, { restartPolicy: 'Never' }))
    const pod = await until('greedy-vm', it => statusOf(it)?.state?.terminated)
    const { reason, exitCode } = statusOf(pod)?.state?.terminated ?? {}
    deepEqual({ reason, exitCode, phase: pod.status?.phase }, { reason: 'OOMKilled', exitCode: 137, phase: 'Failed' })
  })
  await check('limits: a container that takes more cpu than it may is slowed down', async () => {
    await putManifest('busy.json', podOf('busy', script('while :; do :; done', both('50m', '16Mi'))))
    const stat = join(scopeOf(await until('busy-vm', isReady)), 'cpu.stat')
    await waitFor('it to be throttled', async () => /^nr_throttled [1-9]/m.test(await readFile(stat, 'utf8')))
    await removeManifest('busy.json')
  })
  await check('limits: a pod has no more processes than it may', async () => {
    const forks = 'for i in $(seq 80); do sleep 60 >/dev/null 2>&1 & done 2>&1'
    match(await execIn(sleepers.besteffort, 'sh', '-c', `${forks} || true`).catch(String), /can't fork/)
    const slice = sliceOf(await until(sleepers.besteffort, isReady))
    const running = Number(await readFile(join(slice, 'pids.current'), 'utf8'))
    ok(running > 50 && running <= 64, `${running} processes`)
  })
}

/** Every slice and scope of pods that systemd or the kernel knows. */
const podUnits = async (): Promise<readonly string[]> => {
  const { stdout } = await systemExec.run([
    'systemctl',
    'list-units',
    '--all',
    '--plain',
    '--no-legend',
    'kubepods-*pod*',
    'cri-*',
  ])
  const folders = await readdir('/sys/fs/cgroup', { recursive: true })
  return [...stdout.split('\n').filter(line => line !== ''), ...folders.filter(it => /kubepods-\S*pod[^/]*$/.test(it))]
}

export const limitChecks = async (): Promise<void> => {
  await putManifest('limits.json', ...pods)
  await limitFileChecks()
  await keptChecks()
  await check('limits: slices and scopes go with their pods', async () => {
    await removeManifest('limits.json')
    await removeManifest('greedy.json')
    for (const name of [...Object.values(sleepers), 'greedy-vm', 'busy-vm']) await gone(name)
    deepEqual(await podUnits(), [])
  })
}
