// Which version this is, for people and for programs that parse it. package.json is the only place that says the number.
import packageFile from '../package.json' with { type: 'json' }

export const version: string = packageFile.version

/**
 * As kubeadm, the apiserver and the conformance tests read it from `kubelet --version` and from the Node's status.
 * `+` marks a build of that release; after `-` it would count as an earlier one.
 */
export const kubeletVersion = `v1.36.3+nodelet.${version}`
