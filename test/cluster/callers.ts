// Who may ask a node on :10250, and who may not: the apiserver vouches for tokens and decides what a caller may do.
import type { Test } from 'tap'
import type { Cluster } from '../support/cluster.ts'

const port = 10_250

export const callers = async (t: Test, { controlPlane, nodes }: Cluster): Promise<void> => {
  const { netns, kubectl, dir } = controlPlane
  const node = nodes[0]!
  /** The status code, and the body. */
  const ask = async (path: string, ...options: readonly string[]) => {
    const url = `https://${node.address}:${port}${path}`
    const argv = ['curl', '-sS', '-k', '--noproxy', '*', '--max-time', '10', '--write-out', '\n%{http_code}', ...options, url]
    const lines = (await netns.run(argv)).stdout.split('\n')
    return { code: Number(lines.at(-1)), body: lines.slice(0, -1).join('\n') }
  }
  /** curl's options for the certificate of a kubeconfig. */
  const certificateOf = async (user: string, groups: readonly string[] = []) => {
    const kubeconfig = await controlPlane.credentials({ user, groups })
    const show = (field: string, file: string) =>
      kubectl(['config', 'view', '--raw', `--kubeconfig=${kubeconfig}`, '-o', `jsonpath={.users[0].user.${field}}`]).then(
        async base64 => netns.run(['dd', `of=${file}`, 'status=none'], { input: Buffer.from(base64, 'base64').toString() }),
      )
    const [certificate, key] = [`${kubeconfig}.crt`, `${kubeconfig}.key`]
    await show('client-certificate-data', certificate)
    await show('client-key-data', key)
    return ['--cert', certificate, '--key', key]
  }
  const withToken = (token: string) => ['--header', `Authorization: Bearer ${token}`]

  await t.test('nobody who does not say who he is gets an answer', async t => {
    t.match(await ask('/pods'), { code: 401, body: 'Unauthorized' })
    t.match(await ask('/pods', ...withToken('made-up')), { code: 401 })
    t.match(await ask('/healthz'), { code: 401 })
  })

  await t.test('a known user without rights is told which right is missing', async t => {
    const stranger = await certificateOf('stranger')
    const answer = await ask('/stats/summary', ...stranger)
    t.equal(answer.code, 403)
    t.match(answer.body, /Forbidden \(user=stranger, verb=get, resource=nodes, subresource\(s\)=\[stats.*\]\)/)
    t.equal((await ask('/exec/default/none/c?command=true', '-X', 'POST', ...stranger)).code, 403)
  })

  await t.test('the identity of the apiserver may ask for everything', async t => {
    const { certificate, key } = controlPlane.kubeletClient
    t.match(await ask('/pods', '--cert', certificate, '--key', key), { code: 200 })
    t.match(await ask('/healthz', '--cert', certificate, '--key', key), { code: 200, body: 'ok' })
    t.match(await ask('/no-such-page', '--cert', certificate, '--key', key), { code: 404 })
  })

  await t.test('a service account may do what its role says, and no more', async t => {
    await kubectl(['create', 'serviceaccount', 'scraper'])
    await kubectl(['create', 'clusterrole', 'scraper', '--verb=get', '--resource=nodes/metrics'])
    await kubectl(['create', 'clusterrolebinding', 'scraper', '--clusterrole=scraper', '--serviceaccount=default:scraper'])
    const token = withToken(await kubectl(['create', 'token', 'scraper']))
    t.match(await ask('/metrics', ...token), { code: 200, body: /^# HELP/m })
    t.match(await ask('/metrics/resource', ...token), { code: 200 })
    t.match(await ask('/stats/summary', ...token), { code: 403 })
    t.match(await ask('/pods', ...token), { code: 403 })
    await kubectl(['delete', 'serviceaccount/scraper', 'clusterrole/scraper', 'clusterrolebinding/scraper'])
  })

  await t.test('a certificate of another authority is no identity', async t => {
    const [certificate, key] = [`${dir}/foreign.crt`, `${dir}/foreign.key`]
    const subject = '/O=system:masters/CN=somebody'
    const make = ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1']
    await netns.run([...make, '-subj', subject, '-keyout', key, '-out', certificate])
    t.match(await ask('/pods', '--cert', certificate, '--key', key), { code: 401 })
  })

  await t.test('the health page of the node itself asks for no identity', async t => {
    const { stdout } = await node.netns.run(['curl', '-sS', '--noproxy', '*', 'http://127.0.0.1:10248/healthz'])
    t.equal(stdout, 'ok')
  })
}
