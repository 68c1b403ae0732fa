// Which version this is, for people and for programs that parse it. package.json is the only place that says the number.
import packageFile from '../package.json' with { type: 'json' }

export const version: string = packageFile.version

/**
 * As kubeadm, the apiserver and the conformance tests read it from `kubelet --version` and from the Node's status.
 * `+` marks a build of that release; after `-` it would count as an earlier one.
 */
export const kubeletVersion = `v1.36.3+nodelet.${version}`

/** The labels of kubernetes_build_info. @param release such as `v1.36.3+…` */
export const buildInfo = (release: string): Readonly<Record<string, string>> => {
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(release) ?? []
  const unknown = { git_commit: '', git_tree_state: '', build_date: '', go_version: '', compiler: '' }
  return { major, minor, git_version: release, ...unknown, platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}` }
}
