// A node whose credentials or apiserver are not what they should be: it says what is wrong, where, and what to do. With the right file it
// joins.
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import type { Test } from 'tap'
import { parse } from 'yaml'
import type { Cluster } from '../support/cluster.ts'
import { createClusterNode } from '../support/cluster-node.ts'
import { startProgram } from '../support/programs.ts'
import { waitFor } from '../support/wait.ts'

interface Kubeconfig {
  clusters: [{ cluster: { server: string; 'certificate-authority-data'?: string } }]
  users?: unknown
}

const name = 'n3'
const host = 20
const htmlPort = 8080

export const refused = async (t: Test, { controlPlane, nodes }: Cluster): Promise<void> => {
  const { agent } = nodes[0]!
  // What the Go kubelet logs is not ours to say.
  if (agent === 'kubelet') return
  const { netns, dir, fabric, kubectl } = controlPlane
  const node = await createClusterNode({ controlPlane, name, host, agent, images: [] })
  t.teardown(() => node.close())
  const path = `${node.dir}/kubelet.conf`
  await copyFile(path, `${node.dir}/right.conf`)
  const right = async () => parse(await readFile(`${node.dir}/right.conf`, 'utf8')) as Kubeconfig
  const use = async (config: string | object) => {
    await writeFile(`${path}.new`, typeof config === 'string' ? config : JSON.stringify(config))
    await rename(`${path}.new`, path)
  }
  let seen = 0
  /** Starts the agent until it has logged this. */
  const saidAtStart = async (wanted: RegExp): Promise<boolean> => {
    const log = async () => (await node.log()).slice(seen)
    await node.start()
    await waitFor(`${wanted} in the log`, async () => wanted.test(await log()), 20_000).catch(async error => {
      throw new Error(`${error.message}:\n${(await log()).slice(-2000)}`)
    })
    await node.stop()
    seen = (await node.log()).length
    return true
  }

  await t.test('an apiserver of another authority is not talked to', async t => {
    const config = await right()
    const [certificate, key] = [`${dir}/other-ca.crt`, `${dir}/other-ca.key`]
    const make = ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1']
    await netns.run([...make, '-subj', '/CN=other', '-keyout', key, '-out', certificate])
    config.clusters[0].cluster['certificate-authority-data'] = (await readFile(certificate)).toString('base64')
    await use(config)
    t.ok(await saidAtStart(/the apiserver's certificate is not signed by .*kubelet\.conf/))
  })

  await t.test('a kubeconfig without a user is refused with its path', async t => {
    const { users: _, ...config } = await right()
    await use(config)
    t.ok(await saidAtStart(/kubelet\.conf.*user|user.*kubelet\.conf/))
  })

  await t.test('a server that answers HTML is told from an apiserver', async t => {
    const pages = `${dir}/pages`
    await mkdir(pages)
    await writeFile(`${pages}/index.html`, '<html></html>')
    const argv = ['busybox', 'httpd', '-f', '-p', String(htmlPort), '-h', pages]
    const server = await startProgram({ netns, log: `${dir}/httpd.log`, argv })
    t.teardown(() => server.end())
    const config = await right()
    config.clusters[0].cluster = { server: `http://${fabric.address(10)}:${htmlPort}` }
    await use(config)
    t.ok(await saidAtStart(/what answers there is no apiserver/))
  })

  await t.test('an expired certificate is named with its end and the way out, and with a new one the node joins', async t => {
    const expired = await controlPlane.credentials({ user: `system:node:${name}`, groups: ['system:nodes'], validity: '1s' })
    await use(await readFile(expired, 'utf8'))
    await new Promise(resolve => setTimeout(resolve, 1500))
    t.ok(await saidAtStart(/client certificate .*kubelet\.conf.* was valid until \d{4}-.*put a new one there/))
    await use(await right())
    await node.start()
    t.ok((await node.whenReady(60_000)) > 0)
    await node.stop()
    await kubectl(['delete', 'node', name])
  })
}
