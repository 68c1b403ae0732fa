// The images of which `kubeadm init` makes a control plane, from the programs that the tests build themselves: those that kubeadm lists for
// the release, but for kube-proxy's, which a control plane of the lab leaves out.
import { copyFile, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createImageBuilder, type Recipe, recipes } from '../../deploy/images.ts'
import { systemExec } from '../../host/exec.ts'
import { dnsArchives, dnsImage } from './cluster-dns.ts'
import { pauseImage } from './images.ts'
import { type Peer, peer, release } from './peers.ts'

const programs: readonly Peer[] = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'etcd']

/** What the program is linked with, none when it was built without the C library. */
const librariesOf = async (program: string): Promise<readonly string[]> => {
  const { exitCode, stdout } = await systemExec.try(['ldd', program])
  return exitCode === 0 ? [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path ?? '') : []
}

const toRecipe = (name: string): Recipe => {
  const program = programs.find(it => name.includes(`/${it}:`))
  if (program === undefined) {
    if (!name.includes('/pause:')) throw new Error(`kubeadm wants ${name}, which nobody here makes`)
    return recipes[pauseImage]!
  }
  const fill = async (root: string) => {
    const path = await peer(program)
    const files = { [`/usr/bin/${program}`]: path, ...Object.fromEntries((await librariesOf(path)).map(it => [it, it])) }
    for (const [target, from] of Object.entries(files)) {
      await mkdir(dirname(join(root, target)), { recursive: true })
      await copyFile(from, join(root, target))
    }
  }
  return { fill }
}

/** Paths of OCI archives with all that `kubeadm init` without kube-proxy wants to be there. */
export const kubeadmArchives = async (): Promise<readonly string[]> => {
  const argv = [await peer('kubeadm'), 'config', 'images', 'list', '--kubernetes-version', release]
  const listed = (await systemExec.run(argv)).stdout.trim().split('\n')
  const own = listed.filter(it => it !== dnsImage && !it.includes('/kube-proxy:'))
  const builder = createImageBuilder(Object.fromEntries(own.map(it => [it, toRecipe(it)])), [import.meta.filename])
  return [...(await builder.archives(own)), ...(await dnsArchives())]
}
