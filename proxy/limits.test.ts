// The settings of connection tracking that a KubeProxyConfiguration asks for, written where /proc has them.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { adjustOwnOomScore } from '../host/kernel-setting.ts'
import { silentLog } from '../host/log.ts'
import { limitConntrack, toConntrackMax, toConntrackSettings } from './limits.ts'

const hour = 3_600_000
const defaults = {
  ...{ maxPerCore: 32_768, min: 131_072, tcpEstablishedTimeout: 24 * hour, tcpCloseWaitTimeout: hour },
  ...{ tcpBeLiberal: false, udpTimeout: 0, udpStreamTimeout: 0 },
}

for (const [name, given, cpus, expected] of [
  ['few processors get the least', {}, 2, 131_072],
  ['more get more', {}, 8, 262_144],
  ['many get a million and no more', {}, 64, 1_048_576],
  ['0 leaves it as it is', { maxPerCore: 0 }, 8, undefined],
] as const)
  t.test(`connections: ${name}`, async t => t.equal(toConntrackMax({ ...defaults, ...given }, cpus), expected))

t.test('times are seconds, and 0 leaves them as they are', async t => {
  t.same(
    [...toConntrackSettings({ ...defaults, tcpBeLiberal: true, udpTimeout: 10_500 }, 2)],
    [
      ['nf_conntrack_max', 131_072],
      ['nf_conntrack_tcp_timeout_established', 86_400],
      ['nf_conntrack_tcp_timeout_close_wait', 3_600],
      ['nf_conntrack_tcp_be_liberal', 1],
      ['nf_conntrack_udp_timeout', 10],
    ],
  )
})

t.test('what is as asked for is not written; what is not there is passed over', async t => {
  const root = await mkdtemp(join(tmpdir(), 'nlt-proc-'))
  t.teardown(() => rm(root, { recursive: true, force: true }))
  for (const folder of ['sys/net/netfilter', 'self']) await mkdir(`${root}/${folder}`, { recursive: true })
  await writeFile(`${root}/sys/net/netfilter/nf_conntrack_tcp_timeout_established`, '432000\n')
  await writeFile(`${root}/self/oom_score_adj`, '-999\n')
  await limitConntrack({ ...defaults, maxPerCore: 0 }, silentLog, root)
  await adjustOwnOomScore(-999, silentLog, root)
  t.equal(await readFile(`${root}/sys/net/netfilter/nf_conntrack_tcp_timeout_established`, 'utf8'), '86400')
  t.equal(await readFile(`${root}/self/oom_score_adj`, 'utf8'), '-999\n')
  await adjustOwnOomScore(-998, silentLog, root)
  t.equal(await readFile(`${root}/self/oom_score_adj`, 'utf8'), '-998')
})
