// A node's life under kubeadm: join, restart, a Go kubelet that takes it over and gives it back, reset. What is asserted is what an
// administrator would look at: the Node, pods, requests to Services, files, and what is left at the end.
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import type { List } from '../../../agent/server/wire.ts'
import type { Pod } from '../../../api/types.ts'
import { systemExec } from '../../../host/exec.ts'
import { busyboxImage } from '../../support/images.ts'
import { podOf, service, web } from '../../support/manifests.ts'
import { waitFor } from '../../support/wait.ts'
import { health, journal, kubeadm, kubectl, nodeIsReady, nodeName, provision } from './join-node.ts'
import { env } from './release.ts'
import { newSince, type Remains } from './remains.ts'
import { check, say } from './report.ts'

const { run } = systemExec
const webs = ['web-1', 'web-2']

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )

const version = async () => kubectl('get', 'node', nodeName, '-o', 'jsonpath={.status.nodeInfo.kubeletVersion}')

const podsOf = async (): Promise<readonly Pod[]> => (JSON.parse(await kubectl('get', 'pods', '-o', 'json')) as List<Pod>).items

/** What must not change when somebody else takes over: pods, their addresses, their containers. */
const factsOf = async () =>
  (await podsOf()).map(({ metadata, status }) => ({
    ...{ name: metadata.name, uid: metadata.uid, ip: status?.podIP },
    containers: status?.containerStatuses?.map(it => [it.containerID, it.restartCount, it.ready]),
  }))

/** Two pods behind a Service; waits until they are ready. */
export const startWebs = async () => {
  const resources = { limits: { memory: '64Mi' }, requests: { cpu: '50m' } }
  const readinessProbe = { httpGet: { path: '/healthz', port: 80 }, periodSeconds: 2, timeoutSeconds: 20, failureThreshold: 10 }
  const env = [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }]
  const pods = webs.map(name => podOf(name, web({ resources, readinessProbe, env }), {}, { labels: { app: 'web' } }))
  const items = [...pods, service('web', [{ port: 80, nodePort: 30_080 }], { type: 'NodePort' })]
  const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
  await run(['/opt/bin/kubectl', '--kubeconfig', '/opt/admin.conf', 'apply', '-f', '-'], { input, timeoutMs: 60_000 })
  await kubectl('wait', '--for=condition=Ready', ...webs.map(it => `pod/${it}`), '--timeout=110s').catch(async error => {
    throw new Error(`${error.message}\n${await kubectl('describe', 'pods')}\n${await journal('kubelet')}`)
  })
}

const clusterIP = () => kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}')

/** Both pods answer at the ClusterIP. */
export const serviceAnswers = async () => {
  const url = `http://${await clusterIP()}/`
  const answers = new Set<string>()
  for (let attempt = 0; attempt < 30 && answers.size < 2; attempt++)
    answers.add((await run(['curl', '-sS', '--fail', '--max-time', '10', url])).stdout.trim())
  deepEqual([...answers].sort(), webs)
}

/** Requests one after the other while something is done. @returns how many were made and which failed */
const underLoad = async (work: () => Promise<unknown>) => {
  const url = `http://${await clusterIP()}/`
  let isOver = false
  let made = 0
  const failed: string[] = []
  const load = (async () => {
    while (!isOver) {
      made += 1
      const { exitCode, stderr } = await systemExec.try([
        'curl',
        '-sS',
        '--fail',
        '--output',
        '/dev/null',
        '--max-time',
        '15',
        url,
      ])
      if (exitCode !== 0) failed.push(stderr.trim())
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  })()
  try {
    await work()
  } finally {
    isOver = true
    await load
  }
  return { made, failed }
}

/** @returns whether the node has joined */
export const joinChecks = async (words: readonly string[]): Promise<boolean> => {
  await check('join: `kubelet --version` answers what kubeadm reads', async () => {
    match(
      (await run(['/usr/bin/kubelet', '--version'], { timeoutMs: 120_000, env })).stdout,
      /^Kubernetes v1\.36\.3\+nodelet\.\S+$/,
    )
  })
  const hasJoined = await check('join: `kubeadm join` ends well', async () => {
    const said = await provision('node.sh', ...words)
    say(said.replaceAll(/^/gm, '    '))
    match(said, /This node has joined the cluster/)
  })
  if (!hasJoined) return false
  const isUp = await check('join: the node becomes Ready', nodeIsReady)
  await check('join: the kubeconfig that kubeadm waits for names a certificate of its own, the token is gone', async () => {
    match(
      await readFile('/etc/kubernetes/kubelet.conf', 'utf8'),
      /client-certificate: \/var\/lib\/kubelet\/pki\/kubelet-client-current\.pem/,
    )
    equal((await stat('/etc/kubernetes/kubelet.conf')).mode & 0o777, 0o600)
    ok(!(await exists('/etc/kubernetes/bootstrap-kubelet.conf')))
    equal(await health(), 'ok')
    match(await version(), /^v1\.36\.3\+nodelet\./)
  })
  return (
    isUp &&
    check('join: pods run in slices of systemd, and Services answer', async () => {
      await startWebs()
      await serviceAnswers()
      const slices = await readdir('/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice')
      equal(slices.filter(it => it.endsWith('.slice')).length, webs.length)
    })
  )
}

export const restartChecks = async (): Promise<void> => {
  await check('restart: `systemctl restart kubelet` restarts no container and fails no request', async () => {
    const before = await factsOf()
    const { made, failed } = await underLoad(async () => {
      await run(['systemctl', 'restart', 'kubelet'], { timeoutMs: 120_000 })
      await waitFor('the daemon to be healthy', async () => (await health()) === 'ok', 20_000)
    })
    deepEqual(failed, [], `of ${made} requests`)
    deepEqual(await factsOf(), before)
  })
}

/** The lab's switch of the proxy's mode, by which vagrant/try-services.sh asks for every mode that there is. */
export const switchChecks = async (): Promise<void> => {
  const env = { KUBECTL: '/opt/bin/kubectl --kubeconfig /opt/admin.conf', IMAGE: busyboxImage }
  for (const mode of ['iptables', 'ipvs', 'nftables'])
    await check(`switch: the lab's script has the node route Services in the mode ${mode}, and they answer`, async () => {
      const argv = ['/opt/nodelet/vagrant/switch-proxy-mode.sh', nodeName, mode]
      equal((await run(argv, { env, timeoutMs: 300_000 })).stdout.trim(), mode)
      await serviceAnswers()
    })
}

/** Puts another program behind the unit's command, with the daemon stopped. @param program as the link names it */
const swap = async (program: string, flags: string) => {
  await run(['systemctl', 'stop', 'kubelet'], { timeoutMs: 120_000 })
  await writeFile('/etc/default/kubelet', `KUBELET_EXTRA_ARGS=${flags}\n`)
  await rm('/usr/bin/kubelet')
  await symlink(program, '/usr/bin/kubelet')
  await run(['systemctl', 'start', 'kubelet'], { timeoutMs: 120_000 })
}

const runs = (prefix: RegExp) =>
  waitFor(`the node to be run by ${prefix}`, async () => prefix.test(await version()), 12_000).catch(async error => {
    throw new Error(`${error.message}\n${await journal('kubelet')}`)
  })

export const takeoverChecks = async (address: string): Promise<void> => {
  const before = await factsOf()
  const flags = `--node-ip=${address}`
  await check('takeover: a Go kubelet takes the node over, with no container restarted and no request failed', async () => {
    const { made, failed } = await underLoad(async () => {
      await swap('/opt/bin/kubelet', flags)
      await runs(/^v1\.36\.3$/)
      await nodeIsReady()
    })
    deepEqual(failed, [], `of ${made} requests`)
    deepEqual(await factsOf(), before)
  })
  await check('takeover: nodelet takes it back in the same way', async () => {
    const { made, failed } = await underLoad(async () => {
      await swap('nodelet', `${flags} --proxy-config=/etc/nodelet/kube-proxy.yaml`)
      await runs(/\+nodelet\./)
      await nodeIsReady()
    })
    deepEqual(failed, [], `of ${made} requests`)
    deepEqual(await factsOf(), before)
  })
}

export const resetChecks = async (before: Remains): Promise<void> => {
  await check('reset: `kubeadm reset` ends well', async () => say((await kubeadm('reset', '--force')).replaceAll(/^/gm, '    ')))
  await check('reset: nothing of the node is left', async () => {
    // systemd starts the cleaning when kubelet.conf goes
    const isOver = async () =>
      (await systemExec.try(['systemctl', 'show', '--property=Result,ExecMainExitTimestampMonotonic', 'nodelet-reset.service']))
        .stdout
    await waitFor('the cleaning to end', async () => !/Monotonic=0$/m.test(await isOver()), 12_000)
    say((await journal('nodelet-reset.service', 40)).replaceAll(/^/gm, '    '))
    match(await isOver(), /^Result=success$/m)
    // containerd keeps results of CNI there
    await rm('/var/lib/cni', { recursive: true, force: true })
    const others = [
      // the Go kubelet's, for its own iptables chains, which it never takes away
      /^nft table table ip6? (mangle|nat|filter)$/,
      // a control plane's, which kubeadm empties
      /^file \/var\/lib\/etcd$/,
      // the iptables mode's, which stays as IP forwarding does
      /^setting net\/ipv4\/conf\/all\/route_localnet 1$/,
    ]
    const isForeign = (it: string) => others.some(pattern => pattern.test(it))
    const left = async () => (await newSince(before)).filter(it => !isForeign(it))
    await waitFor('the last process to end', async () => (await left()).length === 0, 1000).catch(async () =>
      deepEqual(await left(), []),
    )
    deepEqual(await readdir('/var/lib/kubelet').catch(() => []), [])
    const files = (await readdir('/etc/kubernetes', { recursive: true, withFileTypes: true })).filter(it => !it.isDirectory())
    deepEqual(
      files.map(it => it.name),
      [],
    )
  })
}
