// `nodelet install --join` learns of a real cluster: by the very command that kubeadm prints, and by nothing else.
import { join } from 'node:path'
import t from 'tap'
import { createControlPlane } from '../support/control-plane.ts'
import { openForJoin } from '../support/kubeadm.ts'

t.setTimeout(200_000)

const controlPlane = await createControlPlane()
t.teardown(controlPlane.close)
const [, server = '', ...flags] = await openForJoin(controlPlane)

const module = (name: string) => JSON.stringify(join(import.meta.dirname, '../../setup', name))
const program = `
const { prepareJoin } = await import(${module('join.ts')})
const { holdProcess, systemClock } = await import(${JSON.stringify(join(import.meta.dirname, '../../host/clock.ts'))})
const { installOptions } = await import(${module('options.ts')})
const options = installOptions(process.argv.slice(1))
const held = holdProcess()
console.log(await prepareJoin(options.join, systemClock).then(it => JSON.stringify(it), error => error.message))
held.cancel()
`
const ask = async (...words: readonly string[]): Promise<string> => {
  const argv = [process.execPath, '--input-type=module', '--eval', program, '--', '--join', server, ...words]
  return (await controlPlane.netns.run(argv)).stdout.trim()
}

t.test('the words of kubeadm token create --print-join-command', async t => {
  const { bootstrapKubeconfig, ca, settings } = JSON.parse(await ask(...flags))
  t.match(bootstrapKubeconfig, /server: https:\/\//)
  t.match(ca, /BEGIN CERTIFICATE/)
  t.match(settings, { clusterDomain: 'cluster.local', clusterDNS: [/^\d+\.\d+\.\d+\.\d+$/] })
})

t.test('another token, another CA', async t => {
  const other = flags.with(1, 'abcdef.0123456789abcdef')
  t.match(await ask(...other), /--token: the cluster does not know it/)
  t.match(await ask(...flags.with(3, `sha256:${'0'.repeat(64)}`)), /the CA of the cluster has sha256:[0-9a-f]{64}/)
})
