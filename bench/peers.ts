// The Go programs to compare with, built from the Go module k8s.io/kubernetes into .cache/peers: one go.mod with the versions of
// the upstream release. Minutes from an empty build cache. PEER_BIN names a folder where some of them lie already.
import { access, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemExec } from '../host/exec.ts'

/** The release of the programs, which is also the one whose flags and files the daemon takes. */
export const release = 'v1.36.3'
const stagingVersion = release.replace('v1.', 'v0.')

export type Peer = 'kubelet' | 'kube-proxy' | 'kube-apiserver'

const cacheDir = join(import.meta.dirname, '../.cache/peers')

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
  return `-s -w ${Object.entries(values)
    .map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`)
    .join(' ')}`
}

const build = async (name: Peer, target: string): Promise<void> => {
  const dir = join(cacheDir, 'module')
  if (!(await isThere(join(dir, 'go.sum')))) await prepareModule(dir)
  process.stderr.write(`building ${name} ${release}\n`)
  const argv = ['go', 'build', '-C', dir, '-mod=mod', '-ldflags', versionFlags(), '-o', target, `k8s.io/kubernetes/cmd/${name}`]
  await systemExec.run(argv, { timeoutMs: 3_600_000 })
}

/** The path of a peer's executable. */
export const peer = async (name: Peer): Promise<string> => {
  const given = join(process.env['PEER_BIN'] ?? cacheDir, name)
  if (await isThere(given)) return given
  const target = join(cacheDir, name)
  if (!(await isThere(target))) await build(name, target)
  return target
}
