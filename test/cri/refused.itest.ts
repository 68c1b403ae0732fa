// The machine refuses: nft that fails, a full file system under the logs. A clear line, pods that go on, and no restart needed when
// the trouble is over.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemExec } from '../../host/exec.ts'
import { busyboxImage, webImage } from '../support/images.ts'
import { podOf, script, service, web } from '../support/manifests.ts'
import { createNode, isReady } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

t.setTimeout(0)

// An nft that fails as a kernel without nftables makes it fail, while the file `broken` is there.
const tools = await mkdtemp(join(tmpdir(), 'nlt-tools-'))
t.teardown(() => rm(tools, { recursive: true }))
const wrapper = `#!/bin/sh
if [ -e ${tools}/broken ]; then echo 'Error: Could not process rule: Operation not supported' >&2; exit 1; fi
exec /usr/sbin/nft "$@"
`
await writeFile(join(tools, 'nft'), wrapper)
await chmod(join(tools, 'nft'), 0o755)

t.test('a kernel that refuses our tables: a clear line, pods run, and Services work as soon as it does not', async t => {
  await writeFile(join(tools, 'broken'), '')
  const node = await createNode({ containerd: { images: [busyboxImage, webImage] }, env: { PATH: tools } })
  t.teardown(() => node.close())
  const clusterIP = '10.96.1.1'
  await node.write('web.json', [
    podOf('web', web(), {}, { labels: { app: 'web' } }),
    service('web', [{ port: 80 }], { clusterIP }),
    podOf('host', script('exec sleep infinity'), { hostNetwork: true }),
  ])
  const said = async () => (await node.messages()).join('\n')
  await node.until('host', isReady)
  const pod = await node.until('web', isReady)
  t.equal(await node.curl(`http://${pod.status?.podIP}/`), 'web-n1', 'the pod network works')
  t.match(await said(), /Services? .*(not|cannot).*Operation not supported/)
  await rm(join(tools, 'broken'))
  await waitFor('the Service', () => node.curl(`http://${clusterIP}/`, '--connect-timeout', '0.2'), 15_000)

  await writeFile(join(tools, 'broken'), '')
  await node.write('late.json', service('late', [{ port: 80 }], { clusterIP: '10.96.1.2', selector: { app: 'web' } }))
  await waitFor('the line', async () => (await said()).match(/Operation not supported/g)?.length ?? 0 > 1)
  t.equal(await node.curl(`http://${clusterIP}/`), 'web-n1', 'what is there goes on')
  await rm(join(tools, 'broken'))
  await waitFor('the other Service', () => node.curl('http://10.96.1.2/', '--connect-timeout', '0.2'), 15_000)
})

t.test('a full file system under the logs: pods go on, new ones say what is missing and start when there is room', async t => {
  const node = await createNode({
    containerd: { images: [busyboxImage, webImage] },
    prepare: async dir => {
      // Inodes run out as blocks do, and can be counted: the folder of one pod with one container takes three or four.
      await systemExec.run(['mount', '-t', 'tmpfs', '-o', 'size=64k,nr_inodes=12', 'nlt-logs', `${dir}/logs`])
    },
  })
  t.teardown(() => node.close())
  await node.write('web.json', podOf('web', web()))
  await node.write(
    'talks.json',
    podOf('talks', script('while :; do echo "$(date) a line that fills the disk, again and again"; usleep 2000; done')),
  )
  const [pod, talks] = await Promise.all([node.until('web', isReady), node.until('talks', isReady)])
  const full = async () =>
    (await systemExec.run(['df', '--output=avail', node.podLogs])).stdout.trim().split(/\s+/).at(-1) === '0'
  await waitFor('the file system to be full', full, 20_000)
  for (let i = 0; i < 12; i++) await writeFile(join(node.podLogs, `f${i}`), '').catch(() => undefined)

  await node.write('late.json', podOf('late', web()))
  await waitFor('the reason', async () => /[Nn]o space left on device/.test((await node.cli(['why', 'late'])).stdout))
  t.equal((await node.pod('late'))?.status?.phase, 'Pending')
  t.match((await node.cli(['why', 'late'])).stdout, /What to do: is a disk full/)
  t.equal(await node.curl(`http://${pod.status?.podIP}/`), 'web-n1')
  t.equal(await node.exec('talks', ['echo', 'alive']), 'alive')
  t.match((await node.cli(['logs', '--tail', '1', 'talks'])).exitCode, 0)

  for (let i = 0; i < 12; i++) await rm(join(node.podLogs, `f${i}`), { force: true })
  await node.remove('talks.json')
  await node.gone('talks')
  await node.until('late', isReady)
  t.not(talks.metadata.uid, '')
  for (const name of ['web', 'late']) await node.remove(`${name}.json`)
  await Promise.all(['web', 'late'].map(it => node.gone(it)))
  await systemExec.run(['umount', node.podLogs])
})
