// vagrant/try-services.sh, as somebody with the lab runs it: on the control plane's host, with kubectl and curl. The proxy's mode is
// switched by the test, which has no systemd to restart the daemon with.
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import { readProxyLayers } from '../../api/config/proxy-config.ts'
import { systemExec } from '../../host/exec.ts'
import type { Cluster } from '../support/cluster.ts'
import type { ClusterNode } from '../support/cluster-node.ts'
import { busyboxImage } from '../support/images.ts'

const script = join(import.meta.dirname, '../../vagrant/try-services.sh')

/** The mode that this version runs when it is asked for one; IPVS needs a kernel that this machine does not have. */
const runningMode = (mode: string) => readProxyLayers([{ fields: { mode }, origin: 'test' }]).config.mode
const modes = ['iptables', 'nftables'].filter(mode => runningMode(mode) === mode)

const switchMode = async (node: ClusterNode, mode: string) => {
  const file = `${node.dir}/kube-proxy.yaml`
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), mode }))
  await node.stop()
  await node.start()
  await node.whenReady()
}

/** Switches for the script, which asks with `curl http://socket/NODE/MODE` and gets the mode that runs. */
const serveSwitch = async (path: string, nodes: readonly ClusterNode[]) => {
  const server = createServer((request, response) => {
    const [, name = '', mode = ''] = (request.url ?? '').split('/')
    const node = nodes.find(it => it.name === name)!
    switchMode(node, mode).then(
      () => response.end(`${runningMode(mode)}\n`),
      error => response.writeHead(500).end(String(error)),
    )
  })
  await new Promise<void>(resolve => server.listen(path, resolve))
  return () => server.close()
}

export const lab = async (t: Test, { controlPlane, nodes }: Cluster): Promise<void> => {
  await t.test('vagrant takes the Vagrantfile', async t => {
    const own = { VAGRANT_HOME: `${controlPlane.dir}/vagrant`, VAGRANT_DOTFILE_PATH: `${controlPlane.dir}/vagrant-machines` }
    const options = { env: { ...own, VAGRANT_CWD: dirname(script) }, timeoutMs: 60_000 }
    t.match((await systemExec.run(['vagrant', 'validate', '--ignore-provider'], options)).stdout, 'validated successfully')
  })

  await t.test('vagrant/try-services.sh finds that Services do what they should', async t => {
    const { dir, netns } = controlPlane
    const close = await serveSwitch(`${dir}/switch.sock`, nodes)
    t.teardown(close)
    await writeFile(
      `${dir}/switch.sh`,
      `#!/bin/sh\nexec curl --silent --fail --unix-socket ${dir}/switch.sock "http://lab/$1/$2"\n`,
      {
        mode: 0o755,
      },
    )
    const [program, ...flags] = controlPlane.kubectlArgv([])
    const env = { KUBECTL: [program, ...flags].join(' '), IMAGE: busyboxImage, SWITCH: `${dir}/switch.sh`, HOME: dir }
    const result = await netns.exec.try([script], { env: { ...env, MODES: modes.join(' ') }, timeoutMs: 240_000 })
    t.equal(result.exitCode, 0, 'exit code', { output: `${result.stdout}\n${result.stderr}` })
    for (const title of [
      'ClusterIP',
      'NodePort',
      'Session affinity',
      'internalTrafficPolicy',
      'externalTrafficPolicy',
      'readiness',
      'goes',
      'mode',
    ])
      t.match(result.stdout, title)
    t.equal(result.stdout.match(/^ {2}ok$/gm)?.length, 9 + modes.length, 'steps', { output: result.stdout })
    const gone = async () => (await controlPlane.tryKubectl(['get', 'namespace', 'try-services', '-o', 'name'])).exitCode !== 0
    await controlPlane.kubectl(['wait', '--for=delete', 'namespace/try-services', '--timeout=60s']).catch(async error => {
      if (!(await gone())) throw error
    })
  })
}
