// Installing and upgrading by the one file, as an administrator would, and what must not change meanwhile. Uninstalling is uninstall.ts's.
import { deepEqual, equal, match, notEqual, ok } from 'node:assert/strict'
import { access, readFile, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Service } from '../../../api/service-types.ts'
import type { Pod } from '../../../api/types.ts'
import { createDaemon } from '../../../cli/socket.ts'
import { type RunResult, systemExec } from '../../../host/exec.ts'
import { bareScript, podOf } from '../../support/manifests.ts'
import { isReady } from '../../support/node.ts'
import { waitFor } from '../../support/wait.ts'
import { fetchOutside, list, nodeIPs, putManifest, until } from './node.ts'
import { env, release, tryRelease } from './release.ts'
import { newSince, type Remains } from './remains.ts'
import { check, say } from './report.ts'
import { nodePort, serveWeb, toUrl } from './services.ts'

/** Where the installation puts the program. */
export const installed = '/usr/local/bin/nodelet'

const words = ['install', '--node-name', 'vm', '--node-ip', nodeIPs.IPv4, '--timeout', '150']

export const install = (program = release): Promise<RunResult> => tryRelease(program, ...words)

export const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

const unit = '/etc/systemd/system/nodelet.service'

/** Is refused, says why, and changes nothing. */
const refused = (name: string, why: RegExp, before: Remains, run: () => Promise<RunResult>) =>
  check(`install: ${name} is refused, and the machine is as it was`, async () => {
    const { exitCode, stdout, stderr } = await run()
    match(`${stdout}${stderr}`, why)
    ok(exitCode === 1 || exitCode === 2, `exit code ${exitCode}`)
    deepEqual(await newSince(before), [])
  })

const joining = ['install', '--join', '127.0.0.1:1', '--token', 'abcdef.0123456789abcdef']
const hash = ['--discovery-token-ca-cert-hash', `sha256:${'0'.repeat(64)}`]

export const refusalChecks = async (before: Remains): Promise<void> => {
  await refused('without root', /this is not root/, before, () =>
    tryRelease('setpriv', '--reuid', '65534', '--clear-groups', release, 'install'),
  )
  await refused('a token of another form', /--token: want one as/, before, () =>
    tryRelease(release, 'install', '--join', '127.0.0.1:1', '--token', 'no', ...hash),
  )
  await refused('an apiserver that is not there', /the apiserver at 127\.0\.0\.1:1 does not answer/, before, () =>
    tryRelease(release, ...joining, ...hash),
  )
  const server = createServer().listen(10_250)
  await refused('a port that is taken', /somebody listens at port 10250/, before, () => tryRelease(release, ...joining, ...hash))
  server.close()
  await systemExec.run(['cp', '/bin/sleep', '/opt/release/kubelet'])
  const kubelet = systemExec.watch(['/opt/release/kubelet', '1000'], () => undefined)
  await waitFor('it to run', async () => (await systemExec.try(['pidof', '/opt/release/kubelet'])).exitCode === 0)
  await refused('a kubelet that runs', /a process kubelet/, await withOthers(before), () => install())
  kubelet.stop()
  await kubelet.ended
  await refused('a kernel without overlay', /has no overlay/, before, withoutOverlay(install))
  await check('install: without room on the disk it says so, and goes on the next time', async () => {
    await systemExec.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', '/usr/local/bin'])
    const { exitCode, stderr } = await install().finally(() => systemExec.run(['umount', '/usr/local/bin']))
    equal(exitCode, 1)
    match(stderr, /\/usr\/local\/bin\/nodelet could not be written: ENOSPC/)
    ok(!(await isThere(unit)))
  })
}

/** Neither loaded nor to be found, which are the kernel's modules on the whole. */
const withoutOverlay = (run: () => Promise<RunResult>) => async () => {
  await systemExec.run(['modprobe', '-r', 'overlay'])
  await systemExec.run(['mount', '-t', 'tmpfs', 'tmpfs', '/lib/modules'])
  try {
    return await run()
  } finally {
    await systemExec.run(['umount', '/lib/modules'])
    await systemExec.run(['modprobe', 'overlay'])
  }
}

/** What stands there of the test itself. */
const withOthers = async (before: Remains): Promise<Remains> => new Set([...before, ...(await newSince(before))])

const factsOf = ({ metadata, status }: Pod) => ({
  uid: metadata.uid,
  ips: status?.podIPs,
  containers: status?.containerStatuses?.map(it => [it.containerID, it.restartCount]),
})

const names = ['web-1-vm', 'web-2-vm', 'client-vm', 'critical-vm']

const allPods = async () => Promise.all(names.map(async name => factsOf(await until(name, isReady))))

const ask = (url: string): Promise<string> =>
  new Promise((resolve, reject) => {
    get(url, { agent: false, timeout: 20_000 }, response => text(response).then(resolve, reject)).on('error', reject)
  })

/** Asks one after the other until it is stopped. */
const startLoad = (url: string) => {
  const failures: string[] = []
  let answers = 0
  let isStopped = false
  const loop = (async () => {
    while (!isStopped)
      await ask(url).then(
        () => {
          answers += 1
        },
        error => failures.push(String(error)),
      )
  })()
  return {
    stop: async () => {
      isStopped = true
      await loop
      return { answers, failures }
    },
  }
}

/** Nothing of pods and Services is to notice what is done. */
const unnoticed = async (work: () => Promise<unknown>): Promise<void> => {
  const before = await allPods()
  const [service] = (await list<Service>('/v1/services')).filter(it => it.metadata.name === 'web')
  const loads = [toUrl(service?.spec.clusterIP ?? '', 80), toUrl(nodeIPs.IPv4, nodePort)].map(startLoad)
  await work()
  await fetchOutside(toUrl(nodeIPs.IPv4, nodePort))
  for (const load of loads) {
    const { answers, failures } = await load.stop()
    say(`  ${answers} requests were answered`)
    deepEqual(failures, [])
    ok(answers > 10, `${answers} answers`)
  }
  deepEqual(await allPods(), before)
}

/** How long nobody answered at the socket, by asking all the time. */
const gapOf = async (work: () => Promise<unknown>): Promise<number> => {
  const daemon = createDaemon()
  const answered: number[] = [performance.now()]
  let isOver = false
  const asking = (async () => {
    while (!isOver) {
      await daemon.text('/healthz').then(
        () => answered.push(performance.now()),
        () => undefined,
      )
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  })()
  await work()
  await waitFor('the daemon to answer', () => daemon.text('/healthz'))
  isOver = true
  await asking
  return Math.max(...answered.slice(1).map((at, index) => at - (answered[index] ?? at)))
}

const show = async (...properties: readonly string[]): Promise<string> =>
  (await systemExec.run(['systemctl', 'show', 'nodelet', '--property', properties.join(',')])).stdout.trim()

export const doctorChecks = (): Promise<boolean> =>
  check('doctor: says what is in the way, and what it could do about it', async () => {
    const { exitCode, stdout } = await tryRelease(release, 'doctor')
    equal(exitCode, 1)
    match(stdout, /containerd is not configured for a node: its cgroup driver is not systemd/)
    match(stdout, /net\.ipv4\.ip_forward is 0/)
  })

/** @returns whether there is a node */
export const installChecks = async (): Promise<boolean> => {
  await check('install: killed half way it leaves no service, and the next one finishes what it began', async () => {
    const interrupted = systemExec.watch(['env', `NODE_OPTIONS=${env.NODE_OPTIONS}`, release, ...words], line => {
      say(`    ${line}`)
      // what follows, containerd's configuration and restart, takes longest
      if (line.endsWith('the program is in place')) interrupted.stop()
    })
    await interrupted.ended
    ok(!(await isThere(unit)))
    ok(await isThere(installed))
  })
  const isUp = await check('install: ends with a node that is well', async () => {
    const { exitCode, stdout } = await install()
    equal(exitCode, 0)
    const [, seconds] = /^ *([\d.]+) s {2}the node is well$/m.exec(stdout) ?? []
    ok(Number(seconds) < 60, `it took ${seconds} s`)
    match(await show('Type', 'ActiveState', 'NRestarts'), /Type=notify\n(.*\n)*ActiveState=active/)
    match(await readFile('/etc/containerd/config.toml', 'utf8'), /bin_dir = "\/usr\/lib\/cni"[\s\S]*SystemdCgroup = true/)
  })
  if (!isUp) {
    say((await systemExec.try(['journalctl', '-u', 'nodelet', '-n', '40', '--no-pager', '-o', 'cat'])).stdout)
    return false
  }
  await check('doctor: on a node nothing is in the way', async () => equal((await tryRelease(installed, 'doctor')).exitCode, 0))
  await check('install: Pods and Services of the folder answer', async () => {
    await serveSingle()
    match(await fetchOutside(toUrl(nodeIPs.IPv4, nodePort)), /^web-[12]-vm$/)
  })
  await check('restart: no connection is lost and no container restarted', () =>
    unnoticed(async () => {
      const gap = await gapOf(() => systemExec.run(['systemctl', 'restart', 'nodelet'], { timeoutMs: 120_000 }))
      say(`  ${(gap / 1000).toFixed(1)} s without the daemon's socket`)
    }),
  )
  await check('watchdog: a daemon that hangs is ended and started again, and nobody else notices', () =>
    unnoticed(async () => {
      const before = await show('MainPID')
      await systemExec.run(['systemctl', 'kill', '--signal=STOP', '--kill-whom=main', 'nodelet'])
      await waitFor('systemd to end it', async () => /^NRestarts=1$/m.test(await show('NRestarts')))
      await waitFor('the next one to be up', async () => /^ActiveState=active$/m.test(await show('ActiveState')))
      notEqual(await show('MainPID'), before)
      match((await systemExec.run(['journalctl', '-u', 'nodelet', '-o', 'cat', '-n', '60'])).stdout, /Watchdog timeout/)
    }),
  )
  await check('shutdown: logind is asked to wait for the pods', async () => {
    await waitFor('the lock', async () =>
      /nodelet.*shutdown.*delay/.test((await systemExec.run(['systemd-inhibit', '--list'])).stdout),
    )
    const delay = [
      'busctl',
      'get-property',
      'org.freedesktop.login1',
      '/org/freedesktop/login1',
      'org.freedesktop.login1.Manager',
    ]
    equal((await systemExec.run([...delay, 'InhibitDelayMaxUSec'])).stdout.trim(), 't 30000000')
  })
  await check('upgrade: installing again does the same', () => unnoticed(async () => equal((await install()).exitCode, 0)))
  return true
}

/** The pods of the other tests, in one family, which is what a machine has to which nobody said more; and one that takes its time. */
const serveSingle = async () => {
  await serveWeb({})
  const critical = { priority: 2_000_001_000, terminationGracePeriodSeconds: 4 }
  await putManifest('critical.json', podOf('critical', bareScript('trap "" TERM; while :; do sleep 1; done'), critical))
  await allPods()
}

const recordFile = '/opt/release/shutdown.json'
const networkUnit = `[Service]
Type=oneshot
RemainAfterExit=yes
Environment="NODE_OPTIONS=${process.env['NODE_OPTIONS']}"
ExecStart=/opt/nodelet/node_modules/.bin/node /opt/nodelet/test/vm/guest/add-network.ts
[Unit]
Before=network-online.target nodelet.service
RequiresMountsFor=/opt
[Install]
WantedBy=multi-user.target
`

/** Asks for a reboot, and writes down what the node says of its pods until the machine is down. Does not come back. */
export const reboot = async (): Promise<never> => {
  await writeFile('/etc/systemd/system/vm-network.service', networkUnit)
  await systemExec.run(['systemctl', 'enable', '--quiet', 'vm-network.service'])
  await writeFile('/opt/restarting', '')
  const seen = new Set<string>()
  await systemExec.run(['systemctl', 'reboot', '--no-block'])
  for (;;) {
    const pods = await list<Pod>('/v1/pods').catch(() => [])
    const node = await createDaemon()
      .json<{ status?: { conditions?: readonly { type: string; message?: string }[] } }>('/v1/node')
      .catch(() => undefined)
    const ready = node?.status?.conditions?.find(it => it.type === 'Ready')?.message
    const phases = pods.map(({ metadata, status }) => `${metadata.name} ${status?.phase} ${status?.reason ?? ''}`.trim()).sort()
    seen.add([`node ${ready}`, ...phases].join(', '))
    await writeFile(recordFile, JSON.stringify([...seen]))
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

/** After the reboot. */
export const rebootChecks = async (): Promise<void> => {
  await check('shutdown: pods ended before the machine did, and the node said why', async () => {
    const seen: readonly string[] = JSON.parse(await readFile(recordFile, 'utf8'))
    say(`  ${seen.join('\n  ')}`)
    const [ended, last] = ['client-vm Failed Terminated', 'critical-vm Running']
    const others = 'web-1-vm Failed Terminated, web-2-vm Failed Terminated'
    ok(
      seen.some(
        it => it.startsWith('node ') && it.includes('node is shutting down') && it.endsWith([ended, last, others].join(', ')),
      ),
    )
  })
  await check('reboot: the service starts by itself, pods and Services are back', async () => {
    await allPods()
    match(await fetchOutside(toUrl(nodeIPs.IPv4, nodePort)), /^web-[12]-vm$/)
  })
}
