// What kubectl asks a node through the apiserver: logs, streams into containers, copies, debug containers, and the node's own pages.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import type { Test } from 'tap'
import type { Cluster } from '../support/cluster.ts'
import { createClusterPods } from '../support/cluster-pods.ts'
import { busyboxImage } from '../support/images.ts'
import { bareScript, idle, podOf, script, web } from '../support/manifests.ts'
import { startProgram } from '../support/programs.ts'
import { waitFor } from '../support/wait.ts'

const isRunning = ({ status }: { status?: { phase?: string } }) => status?.phase === 'Running'
const sleepless = `trap 'exit 0' TERM; `

export const kubectlAsks = async (t: Test, { controlPlane, nodes }: Cluster): Promise<void> => {
  const { kubectl, tryKubectl, netns, dir } = controlPlane
  const pods = createClusterPods(controlPlane)
  const node = nodes[0]!
  const nodeName = node.name
  const made: string[] = []
  const run = async (name: string, container: object | readonly object[], spec: object = {}) => {
    await pods.create(podOf(name, container as never, { nodeName, ...spec }))
    made.push(name)
  }

  // The two streams reach the log by ways of their own: only time puts them in order.
  await run('talker', script('echo one; sleep 0.5; echo two >&2; sleep 3; echo three; exec sleep infinity'))
  await run('shell', [idle(), web({ name: 'web' })])
  await run('crasher', bareScript(`echo try; exit 3`))
  await pods.until('talker', isRunning)

  await t.test('kubectl logs shows what both streams said, follows what is said next, and the end of it alone', async t => {
    const follow = netns.exec.watch(controlPlane.kubectlArgv(['logs', '-f', 'talker']), line => followed.push(line))
    const followed: string[] = []
    try {
      await waitFor('the third line', () => followed.includes('three'))
      t.same(followed.toSorted(), ['one', 'three', 'two'])
    } finally {
      follow.stop()
    }
    t.same((await kubectl(['logs', 'talker'])).split('\n').toSorted(), ['one', 'three', 'two'])
    t.equal(await kubectl(['logs', '--tail=1', 'talker']), 'three')
    t.match(await kubectl(['logs', '--tail=1', '--timestamps', 'talker']), /^\d{4}-\d\d-\d\dT\S+ three$/)
    t.equal((await kubectl(['logs', '--since=1h', 'talker'])).split('\n').length, 3)
    const [time = ''] = (await kubectl(['logs', '--tail=1', '--timestamps', 'talker'])).split(' ')
    t.equal(await kubectl(['logs', `--since-time=${time}`, 'talker']), 'three')
    t.equal(await kubectl(['logs', '--limit-bytes=3', 'talker']), 'one')
  })

  await t.test('kubectl logs --previous shows the attempt before', async t => {
    await pods.until('crasher', it => (it.status?.containerStatuses?.[0]?.restartCount ?? 0) > 0)
    // The Go kubelet may take the attempt for gone in the moment in which the next one starts.
    const isShown = async () => (await kubectl(['logs', '--previous', 'crasher'])) === 'try'
    t.ok(await waitFor('the log of the attempt before', isShown))
    const refused = await tryKubectl(['logs', '--previous', 'talker'])
    t.match(refused.stderr, /previous terminated container "c" in pod "talker" not found/)
  })

  await t.test('kubectl logs -f ends with the container', async t => {
    await run('brief', script('echo begin; sleep 2; echo end'), { restartPolicy: 'Never' })
    await pods.until('brief', isRunning)
    t.equal(await kubectl(['logs', '-f', 'brief'], { timeoutMs: 20_000 }), 'begin\nend')
  })

  await t.test('kubectl exec passes input, output and the exit code', async t => {
    await pods.until('shell', isRunning)
    t.equal(await kubectl(['exec', 'shell', '-c', 'c', '--', 'echo', 'a b']), 'a b')
    t.equal(await kubectl(['exec', '-i', 'shell', '-c', 'c', '--', 'cat'], { input: 'from here' }), 'from here')
    t.equal((await tryKubectl(['exec', 'shell', '-c', 'c', '--', 'sh', '-c', 'exit 7'])).exitCode, 7)
    const missing = await tryKubectl(['exec', 'shell', '-c', 'c', '--', 'no-such-program'])
    t.not(missing.exitCode, 0)
    t.match(missing.stderr, /no-such-program/)
  })

  await t.test('kubectl exec -it gives the program a terminal', async t => {
    const argv = controlPlane.kubectlArgv(['exec', '-it', 'shell', '-c', 'c', '--', 'tty'])
    const { stdout } = await netns.run(['script', '-qec', argv.join(' '), '/dev/null'])
    t.match(stdout, /\/dev\/pts\/0/)
  })

  await t.test('an exec into a container that does not run, or into none, says so', async t => {
    const dead = await tryKubectl(['exec', 'brief', '--', 'true'])
    t.not(dead.exitCode, 0)
    t.match(dead.stderr, /completed pod|container not found|not running/)
    await run('unborn', idle({ imagePullPolicy: 'Never', image: 'nodelet.dev/none:1' }))
    await pods.until('unborn', it => it.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImageNeverPull')
    const waiting = await tryKubectl(['exec', 'unborn', '--', 'true'])
    t.match(waiting.stderr, /container not found \("c"\)/)
  })

  await t.test('kubectl attach joins the container that runs', async t => {
    await run('reader', bareScript('read line; echo "got $line"', { stdin: true, stdinOnce: true }), { restartPolicy: 'Never' })
    await pods.until('reader', isRunning)
    const { stdout } = await tryKubectl(['attach', '-i', 'reader'], { input: 'a word\n' })
    t.match(stdout, 'got a word')
    await pods.until('reader', it => it.status?.phase === 'Succeeded')
  })

  await t.test('kubectl port-forward carries requests to the pod', async t => {
    const argv = controlPlane.kubectlArgv(['port-forward', 'pod/shell', '18080:80'])
    const forward = await startProgram({ netns, log: `${dir}/port-forward.log`, argv })
    try {
      const ask = async () =>
        (await netns.run(['curl', '-sS', '--fail', '--noproxy', '*', 'http://127.0.0.1:18080/healthz'])).stdout
      t.equal(await waitFor('an answer', ask), 'ok')
      const answers = await Promise.all(Array.from({ length: 5 }, ask))
      t.same(answers, Array(5).fill('ok'), 'several at once')
    } finally {
      await forward.end()
    }
  })

  await t.test('kubectl cp brings files in and out unchanged', async t => {
    const bytes = Buffer.alloc(3_000_000, 'nodelet ')
    await mkdir(`${dir}/copies`)
    await writeFile(`${dir}/copies/in`, bytes)
    await kubectl(['cp', '-c', 'c', `${dir}/copies/in`, 'default/shell:/tmp/copied'])
    await kubectl(['cp', '-c', 'c', 'default/shell:/tmp/copied', `${dir}/copies/out`])
    t.ok((await readFile(`${dir}/copies/out`)).equals(bytes))
  })

  await t.test('kubectl debug adds a container that sees the processes of another', async t => {
    const wait = `${sleepless}sleep 600 & wait`
    const debug = ['debug', 'shell', `--image=${busyboxImage}`, '-c', 'debugger', '--target=web', '--attach=false']
    await kubectl([...debug, '--image-pull-policy=IfNotPresent', '--', 'sh', '-c', wait])
    const pod = await pods.until('shell', it => it.status?.ephemeralContainerStatuses?.[0]?.state?.running !== undefined)
    t.equal(pod.status?.containerStatuses?.[0]?.restartCount, 0)
    t.match(await kubectl(['exec', 'shell', '-c', 'debugger', '--', 'ps']), /httpd/)
  })

  const page = (path: string) => kubectl(['get', '--raw', `/api/v1/nodes/${nodeName}/proxy/${path}`])
  // The Go kubelet finds no file system of the root folder on a machine whose root device is named by an alias, and refuses the page.
  if (node.agent === 'nodelet') {
    await t.test('the summary tells what node, pods and containers use', async t => {
      const summary = JSON.parse(await page('stats/summary')) as Summary
      t.equal(summary.node.nodeName, nodeName)
      t.ok(summary.node.memory.workingSetBytes > 0)
      const shell = summary.pods.find(it => it.podRef.name === 'shell')
      t.same(shell?.containers.map(it => it.name).toSorted(), ['c', 'debugger', 'web'])
    })
  }

  await t.test('kubectl get --raw shows each page of the node', async t => {
    t.equal(await page('healthz'), 'ok')
    const names = (JSON.parse(await page('pods')) as { items: { metadata: { name: string } }[] }).items.map(
      it => it.metadata.name,
    )
    t.ok(['shell', 'talker', 'crasher'].every(it => names.includes(it)))
    t.match(await page('metrics'), /^kubelet_running_pods(\{.*\})? \d+/m)
    t.match(await page('metrics/resource'), /^container_memory_working_set_bytes\{.*pod="shell".*\} [\d.e+]+/m)
    t.match(await page('metrics/cadvisor'), /^container_memory_working_set_bytes\{.*pod="shell".*\} [\d.e+]+/m)
    const { kubeletconfig } = JSON.parse(await page('configz')) as { kubeletconfig: Record<string, unknown> }
    t.match(kubeletconfig, { cgroupDriver: 'cgroupfs', clusterDomain: 'cluster.local', clusterDNS: ['10.96.0.10'] })
  })

  await pods.remove(...made)
}

interface Summary {
  readonly node: { readonly nodeName: string; readonly memory: { readonly workingSetBytes: number } }
  readonly pods: readonly {
    readonly podRef: { readonly name: string }
    readonly containers: readonly { readonly name: string }[]
  }[]
}
