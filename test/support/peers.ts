// The Go programs that tests and benchmarks run beside ours: a control plane, its tools, the kubelet and kube-proxy to compare with, the
// upstream test suite. Built from the Go module k8s.io/kubernetes into .cache/peers: one go.mod with the versions of the upstream
// release; CoreDNS, which kubeadm installs with that release, from its own. Minutes from an empty build cache. PEER_BIN names a folder
// where some of them lie already.
import { access, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemExec } from '../../host/exec.ts'

/** The release of the programs, which is also the one whose flags and files the daemon takes. */
export const release = 'v1.36.3'
const stagingVersion = release.replace('v1.', 'v0.')

interface Source {
  readonly from: string
  /** `test`: a package of tests becomes a program; `static`: without the C library, for images that have none. */
  readonly as?: 'test' | 'static'
  /** Of a program that is no part of the release and has a go.mod of its own. */
  readonly version?: string
}

const command = (name: string): Source => ({ from: `k8s.io/kubernetes/cmd/${name}` })
const sources = {
  'kube-apiserver': command('kube-apiserver'),
  'kube-controller-manager': command('kube-controller-manager'),
  'kube-scheduler': command('kube-scheduler'),
  kubeadm: command('kubeadm'),
  kubectl: command('kubectl'),
  kubelet: command('kubelet'),
  'kube-proxy': command('kube-proxy'),
  agnhost: { from: 'k8s.io/kubernetes/test/images/agnhost', as: 'static' },
  'regression-issue-74839': { from: 'k8s.io/kubernetes/test/images/regression-issue-74839', as: 'static' },
  'sample-apiserver': { from: 'k8s.io/sample-apiserver', as: 'static' },
  'e2e.test': { from: 'k8s.io/kubernetes/test/e2e', as: 'test' },
  // of the versions that kubeadm of this release installs; Debian's etcd does not know the flags that it is given then
  etcd: { from: 'go.etcd.io/etcd/server/v3', as: 'static' },
  coredns: { from: 'github.com/coredns/coredns', as: 'static', version: 'v1.14.2' },
  ginkgo: { from: 'github.com/onsi/ginkgo/v2/ginkgo' },
} satisfies Readonly<Record<string, Source>>

export type Peer = keyof typeof sources

const cacheDir = join(import.meta.dirname, '../../.cache/peers')

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

/** A module that requires Kubernetes as upstream builds it: its staging modules under their own versions, the rest as it pins it. */
const toGoMod = (upstream: string): string => {
  const staging = [...upstream.matchAll(/^\s+(k8s\.io\/[\w-]+) => \.\/staging/gm)].map(([, name]) => name)
  const required = [...upstream.matchAll(/^\s+([\w.-]+\.[a-z]+\/\S+ v\d\S*)/gm)].map(([, it]) => it ?? '')
  return [
    'module peers',
    'go 1.26.0',
    `require k8s.io/kubernetes ${release}`,
    ...staging.map(name => `replace ${name} => ${name} ${stagingVersion}`),
    'require (',
    ...required.filter(it => !it.endsWith(' v0.0.0')).map(it => `\t${it}`),
    ')',
    '',
  ].join('\n')
}

const prepareModule = async (dir: string): Promise<void> => {
  await mkdir(dir, { recursive: true })
  const { stdout } = await systemExec.run(['go', 'mod', 'download', '-json', `k8s.io/kubernetes@${release}`], {
    timeoutMs: 600_000,
  })
  const { GoMod } = JSON.parse(stdout) as { GoMod: string }
  await writeFile(join(dir, 'go.mod'), toGoMod(await readFile(GoMod, 'utf8')))
}

const versionFlags = (): string => {
  const [, minor = ''] = release.split('.')
  const values = { gitVersion: release, gitMajor: '1', gitMinor: minor }
  const packages = ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version']
  const settings = packages.flatMap(it => Object.entries(values).map(([name, value]) => `-X ${it}.${name}=${value}`))
  return ['-s', '-w', ...settings].join(' ')
}

const buildLimitMs = 3_600_000

const build = async (name: Peer, target: string): Promise<void> => {
  const { from, as, version }: Source = sources[name]
  process.stderr.write(`building ${name} ${version ?? release}\n`)
  if (version !== undefined) {
    const env = { GOBIN: cacheDir, GOFLAGS: '', CGO_ENABLED: as === 'static' ? '0' : '1' }
    await systemExec.run(['go', 'install', `${from}@${version}`], { timeoutMs: buildLimitMs, env })
    return
  }
  const dir = join(cacheDir, 'module')
  if (!(await isThere(join(dir, 'go.sum')))) await prepareModule(dir)
  const verb = as === 'test' ? ['test', '-C', dir, '-c'] : ['build', '-C', dir]
  const argv = ['go', ...verb, '-mod=mod', '-ldflags', versionFlags(), '-o', target, from]
  await systemExec.run(argv, { timeoutMs: buildLimitMs, ...(as === 'static' && { env: { CGO_ENABLED: '0' } }) })
}

/** The folder of a Go package of the release, for files beside its sources. */
export const peerSource = async (path: string): Promise<string> => {
  const { stdout } = await systemExec.run(['go', 'mod', 'download', '-json', `k8s.io/kubernetes@${release}`], {
    timeoutMs: 600_000,
  })
  return join((JSON.parse(stdout) as { Dir: string }).Dir, path)
}

/** The path of a peer's executable, built when it is not there yet. */
export const peer = async (name: Peer): Promise<string> => {
  const given = join(process.env['PEER_BIN'] ?? cacheDir, name)
  if (await isThere(given)) return given
  const target = join(cacheDir, name)
  if (!(await isThere(target))) await build(name, target)
  return target
}
