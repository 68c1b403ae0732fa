// A daemon on a machine whose container runtime is not there, started as a user would: it says so once, waits, and can be stopped.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createNetns } from '../support/netns.ts'
import { waitFor } from '../support/wait.ts'

const program = join(import.meta.dirname, '../../bin/nodelet')

t.test('without a runtime the daemon says so once, stays, and ends with 0 when it is told to', async t => {
  const host = await createNetns()
  const folder = await mkdtemp(join(tmpdir(), 'nlt-no-runtime-'))
  t.teardown(async () => {
    await host.remove()
    await rm(folder, { recursive: true, force: true })
  })
  const at = (name: string) => join(folder, name)
  await mkdir(at('manifests'))
  // The cgroup driver is left open: the runtime is asked for it before anything else begins.
  await writeFile(
    at('kubelet.yaml'),
    JSON.stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      staticPodPath: at('manifests'),
      containerRuntimeEndpoint: `unix://${at('none.sock')}`,
    }),
  )
  await writeFile(
    at('nodelet.yaml'),
    JSON.stringify({
      apiVersion: 'nodelet.dev/v1alpha1',
      kind: 'NodeletConfiguration',
      socket: at('nodelet.sock'),
      stateDir: at('state'),
      cni: { mode: 'disabled' },
    }),
  )
  const flags = ['--config', at('kubelet.yaml'), '--nodelet-config', at('nodelet.yaml'), '--root-dir', at('kubelet')]
  const [command = '', ...args] = host.wrap([program, 'agent', ...flags])
  const daemon = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  daemon.stderr.on('data', chunk => {
    said += chunk
  })
  const ended = once(daemon, 'exit')
  const times = () => said.split('the container runtime does not answer; trying again').length - 1
  await waitFor('the line', () => times() > 0)
  // Long enough for several further attempts.
  await new Promise(resolve => setTimeout(resolve, 1500))
  t.equal(daemon.exitCode, null, 'it is still there')
  t.equal(times(), 1, said)
  daemon.kill('SIGTERM')
  t.same(await ended, [0, null])
})
