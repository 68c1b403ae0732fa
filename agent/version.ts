// The program's version, and the one it shows where Kubernetes software looks: kubeadm and the e2e suite parse it.
import { readFileSync } from 'node:fs'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

export const nodeletVersion: string = version
/** `+`, not `-`: a pre-release would be older than the version it stands for. */
export const kubeletVersion = `v1.36.3+nodelet.${version}`
