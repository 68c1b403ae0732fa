// containerd is not there: before the daemon, and while pods run. What a user reads, what goes on, and what happens when it is back.
import t from 'tap'
import { busyboxImage, webImage } from '../support/images.ts'
import { idle, podOf, service, web } from '../support/manifests.ts'
import { createNode, isReady, statusOf } from '../support/node.ts'
import { waitFor } from '../support/wait.ts'

const node = await createNode({ containerd: { images: [busyboxImage, webImage] } })
t.setTimeout(0)
t.teardown(() => node.close())

const away = /^the container runtime does not answer; trying again: .*containerd\.sock/
const said = async (from: number) => (await node.messages()).slice(from)

t.test('a daemon that starts first waits for containerd, says so once, and goes on when it comes', async t => {
  await node.stop()
  await node.containerd.kill()
  const from = (await node.messages()).length
  await node.write('early.json', podOf('early', idle()))
  await node.start()
  await waitFor('the line', async () => (await said(from)).some(it => away.test(it)))
  t.match((await node.cli(['get', 'node'])).stdout, /^n1 +NotReady /m)
  await new Promise(resolve => setTimeout(resolve, 2000))
  t.equal((await said(from)).filter(it => away.test(it)).length, 1, 'once')
  await node.containerd.start()
  const started = performance.now()
  await node.until('early', isReady)
  t.ok(performance.now() - started < 5000, `${Math.round(performance.now() - started)} ms`)
  await waitFor('a ready node', async () => /^n1 +Ready /m.test((await node.cli(['get', 'node'])).stdout))
  await node.remove('early.json')
  await node.gone('early')
})

t.test('kill -9 of containerd: pods and Services go on; what was asked for meanwhile is done when it is back', async t => {
  const clusterIP = '10.96.1.1'
  const label = { labels: { app: 'stays' } }
  await node.write('stays.json', [podOf('stays', web(), {}, label), service('stays', [{ port: 80 }], { clusterIP })])
  await node.write('leaves.json', podOf('leaves', idle()))
  const [before] = await Promise.all([node.until('stays', isReady), node.until('leaves', isReady)])
  await waitFor('the Service', () => node.curl(`http://${clusterIP}/`))
  const from = (await node.messages()).length
  await node.containerd.kill()
  await waitFor('the line', async () => (await said(from)).some(it => away.test(it)))
  t.equal(await node.curl(`http://${clusterIP}/`), 'stays-n1')
  t.ok(isReady((await node.pod('stays'))!), 'what runs is ready')
  t.match(await node.cli(['exec', 'stays', '--', 'true']), { exitCode: 1, stderr: /containerd\.sock|runtime/ })

  await node.remove('leaves.json')
  await node.write('comes.json', podOf('comes', idle()))
  await waitFor('the reason', async () => /Waits for: .*runtime|containerd\.sock/.test((await node.cli(['why', 'comes'])).stdout))
  t.match((await node.cli(['why', 'comes'])).stdout, /What to do: is containerd running\?/)

  await node.containerd.start()
  const started = performance.now()
  await Promise.all([node.until('comes', isReady), node.gone('leaves')])
  t.ok(performance.now() - started < 5000, `${Math.round(performance.now() - started)} ms`)
  const after = await node.pod('stays')
  t.same(after && statusOf(after), statusOf(before))
  t.equal(await node.exec('stays', ['hostname']), 'stays-n1')
  await waitFor('the good news', async () => (await said(from)).some(it => /answers again/.test(it)))
})
