// Two nodes of a real cluster. All parts share one control plane, which is most of the time they would take otherwise; each deletes what
// it made. PARTS=network,kubectl runs some of them; AGENT=kubelet runs them on nodes of the Go kubelet and kube-proxy.
import t from 'tap'
import { createCluster } from '../support/cluster.ts'
import { away } from './away.ts'
import { callers } from './callers.ts'
import { claims } from './claims.ts'
import { evicted } from './eviction.ts'
import { kubectlAsks } from './kubectl.ts'
import { lab } from './lab.ts'
import { network } from './network.ts'
import { podsOfApiserver } from './pods.ts'
import { refused } from './refused.ts'

const parts = { network, kubectl: kubectlAsks, callers, pods: podsOfApiserver, claims, away, refused, eviction: evicted, lab }
// tap ends a test after 30 s, and the whole file is one to it.
const longestMs = 900_000
const wanted = process.env['PARTS']?.split(',') ?? Object.keys(parts)

t.setTimeout(longestMs)
const cluster = await createCluster()
t.teardown(() => cluster.close())

for (const [name, part] of Object.entries(parts)) {
  if (wanted.includes(name)) t.test(name, { timeout: longestMs }, t => part(t, cluster))
}
