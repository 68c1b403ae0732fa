// Services on the kernel of Debian 12, for both families, with real requests from the node, from a pod and from another machine.
// What the rules do in every case is test/kernel/services.itest.ts's, which runs here too; this is the whole daemon.
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import type { Service } from '../../../api/service-types.ts'
import { idle, podOf, service, web } from '../../support/manifests.ts'
import { isReady } from '../../support/node.ts'
import { waitFor } from '../../support/wait.ts'
import { execIn, fetchHere, fetchOutside, gone, list, nodeIPs, putManifest, removeManifest, until } from './node.ts'
import { check } from './report.ts'

export const nodePort = 30080

// Patient: an emulated machine may take its time, and what a failing probe does is not the question here.
const readinessProbe = { httpGet: { path: '/healthz', port: 'http' }, periodSeconds: 1, timeoutSeconds: 20, failureThreshold: 10 }
const named = { env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] }
const webPod = (name: string) => podOf(name, web({ readinessProbe, ...named }), {}, { labels: { app: 'web' } })
const dual = { ipFamilyPolicy: 'RequireDualStack' }

/**
 * Two web pods behind a ClusterIP and a node port, a pod that asks, and a Service of nobody.
 * @param families what the Service asks for; both unless told otherwise
 */
export const serveWeb = async (families: object = dual): Promise<void> => {
  await putManifest(
    'web.json',
    ...[webPod('web-1'), webPod('web-2'), podOf('client', idle())],
    service('web', [{ port: 80, targetPort: 'http', nodePort }], { ...families, type: 'NodePort' }),
    service('nobody', [{ port: 80 }]),
  )
  for (const name of ['web-1-vm', 'web-2-vm', 'client-vm']) await until(name, isReady)
}

const clusterIPs = async (name: string): Promise<readonly string[]> =>
  (await list<Service>('/v1/services')).find(it => it.metadata.name === name)?.spec.clusterIPs ?? []

export const toUrl = (address: string, port: number): string =>
  `http://${address.includes(':') ? `[${address}]` : address}:${port}/`

/** Asks until each of the two pods has answered; every answer must be one of theirs. */
export const bothAnswer = async (ask: () => Promise<string>): Promise<void> => {
  const answered = new Set<string>()
  for (let attempt = 0; attempt < 40 && answered.size < 2; attempt++) answered.add(await ask())
  deepEqual([...answered].sort(), ['web-1-vm', 'web-2-vm'])
}

export const everyWayAnswers = async (): Promise<void> => {
  const [four = '', six = ''] = await clusterIPs('web')
  ok(six.startsWith('fd00:96:'), `two families: ${four} ${six}`)
  // A pod is told to be ready, and then its rules are written.
  for (const address of [four, six])
    await check(`services: rules follow the pods at ${address}`, () =>
      waitFor(`an answer from ${address}`, async () => (await fetchHere(toUrl(address, 80))) !== ''),
    )
  for (const address of [four, six]) {
    await check(`services: the node reaches both pods at ${address}`, () => bothAnswer(() => fetchHere(toUrl(address, 80))))
    await check(`services: a pod reaches them at ${address}`, async () => {
      const asking = `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do timeout 5 wget -qO- ${toUrl(address, 80)}; done`
      const answers = (await execIn('client-vm', 'sh', '-c', asking)).split('\n')
      equal(answers.length, 16)
      deepEqual([...new Set(answers)].sort(), ['web-1-vm', 'web-2-vm'])
    })
  }
  for (const address of Object.values(nodeIPs))
    await check(`services: another machine reaches them at the node port of ${address}`, () =>
      bothAnswer(() => fetchOutside(toUrl(address, nodePort))),
    )
}

export const serviceChecks = async (): Promise<void> => {
  await check('services: pods behind a Service of two families become ready', serveWeb)
  await everyWayAnswers()
  await check('services: a pod reaches them by name', async () => {
    ok(/^web-[12]-vm$/.test(await execIn('client-vm', 'timeout', '10', 'wget', '-qO-', 'http://web/')))
    ok(/^web-[12]-vm$/.test(await execIn('client-vm', 'timeout', '10', 'wget', '-qO-', 'http://web.default.svc.cluster.local/')))
  })
  await check('services: one without endpoints refuses at once', async () => {
    const [address = ''] = await clusterIPs('nobody')
    await rejects(fetchHere(toUrl(address, 80)), /exit code 7:.*(refused|connect)/i)
  })
  await check('services: a pod that goes is not asked any more', async () => {
    await putManifest('extra.json', podOf('web-3', web({ readinessProbe, ...named }), {}, { labels: { app: 'web' } }))
    await until('web-3-vm', isReady)
    const url = toUrl(nodeIPs.IPv4, nodePort)
    await waitFor('the third pod to answer', async () => (await fetchOutside(url)) === 'web-3-vm')
    await removeManifest('extra.json')
    await gone('web-3-vm')
    for (let attempt = 0; attempt < 20; attempt++) ok((await fetchOutside(url)) !== 'web-3-vm')
  })
}
