// The node's way to its first client certificate: from the bootstrap token's kubeconfig to a certificate of its own and the kubeconfig
// that names it. Does nothing while the certificate that --kubeconfig names is valid. Tries until it has one.
// Follows the kubelet's LoadClientCert (k8s.io: TLS bootstrapping): same files, same request name, a key of an attempt cut off is kept.
import { readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { KubeApi } from '../../api/kube/api.ts'
import { type Kubeconfig, readKubeconfig } from '../../api/kube/kubeconfig.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { unlessMissing } from '../../host/errno.ts'
import { describe, Fault, isFault } from '../../host/fault.ts'
import { ensureDir, writeFileAtomic } from '../../host/files.ts'
import type { Log } from '../../host/log.ts'
import { endOf } from './certificate.ts'
import { nodeKubeconfig, writeKubeconfig } from './node-kubeconfig.ts'
import { obtainCertificate } from './obtain.ts'
import type { PairStore } from './pair-store.ts'
import { isRefusal, pauseAfter } from './pause.ts'
import { clientPurpose, clientSubject } from './signing-request.ts'
import { type MakeX509, newKey, publicKeyOf } from './x509.ts'

/** A client of the apiserver with the credentials of one kubeconfig. */
export type Connection = Pick<KubeApi, 'get' | 'create'> & { close?(): void }
export type Connect = (kubeconfig: string) => Connection | Promise<Connection>

export interface BootstrapDeps {
  readonly nodeName: string
  readonly certDir: string
  /** `--kubeconfig`: read when it is there, else written. */
  readonly kubeconfig: string
  /** `--bootstrap-kubeconfig` */
  readonly bootstrapKubeconfig: string | undefined
  readonly store: PairStore
  readonly connect: Connect
  readonly clock: Clock
  readonly log: Log
  readonly makeX509: MakeX509
  readonly expirationSeconds?: number | undefined
}

/** What the kubeconfig of the node is worth. */
export type Standing =
  | { readonly is: 'missing' }
  /** `until` is undefined for one without a client certificate: a token's end is not known here. */
  | { readonly is: 'valid'; readonly until: Millis | undefined }
  | { readonly is: 'ended'; readonly file: string; readonly at: Millis }
  | { readonly is: 'unusable'; readonly fault: Fault }

/** What a kubeconfig that could be read is worth. Pure. */
export const standingOf = ({ certificate }: Pick<Kubeconfig, 'certificate'>, now: Millis): Standing => {
  if (certificate === undefined) return { is: 'valid', until: undefined }
  try {
    const at = endOf(certificate.pem, certificate.from)
    return now > at ? { is: 'ended', file: certificate.from, at } : { is: 'valid', until: at }
  } catch (error) {
    if (isFault(error)) return { is: 'unusable', fault: error }
    throw error
  }
}

const standing = async (kubeconfig: string, now: Millis): Promise<Standing> => {
  if ((await unlessMissing(stat(kubeconfig))) === undefined) return { is: 'missing' }
  try {
    return standingOf(await readKubeconfig(kubeconfig), now)
  } catch (fault) {
    if (isFault(fault)) return { is: 'unusable', fault }
    throw fault
  }
}

/** Why a node cannot go on without a bootstrap kubeconfig. Pure. @returns undefined when it can */
export const hopeless = (found: Standing, kubeconfig: string): Fault | undefined => {
  if (found.is === 'valid') return undefined
  if (found.is === 'unusable') return found.fault
  if (found.is === 'missing') {
    const text = `kubeconfig ${kubeconfig} does not exist: name the right one, or give --bootstrap-kubeconfig so that it is made`
    return new Fault('bad-config', text, { retry: 'never' })
  }
  const text =
    `the client certificate in ${found.file}, which kubeconfig ${kubeconfig} names, was valid until ${new Date(found.at).toISOString()}: ` +
    'put a new one there, or give --bootstrap-kubeconfig with a valid token (kubeadm token create) so that the node asks for one'
  return new Fault('certificate', text, { retry: 'never', object: found.file })
}

/** As long as upstream waits for one request at bootstrap. */
const approvalTimeoutMs = 3_600_000

const keptKey = (certDir: string) => join(certDir, 'kubelet-client.key.tmp')

const readKey = async (file: string): Promise<string | undefined> => {
  const key = await unlessMissing(readFile(file, 'utf8'))
  if (key === undefined) return undefined
  try {
    publicKeyOf(key)
    return key
  } catch {
    return undefined
  }
}

const attempt = async (
  deps: BootstrapDeps,
  api: Connection,
  bootstrapKubeconfig: string,
  signal: AbortSignal | undefined,
): Promise<void> => {
  const { certDir, clock, kubeconfig, nodeName, store } = deps
  // Read each time: somebody may put a fresh token there while we try.
  const cluster = await readKubeconfig(bootstrapKubeconfig)
  const file = keptKey(certDir)
  let key = await readKey(file)
  if (key === undefined) {
    key = newKey()
    await ensureDir(certDir, 0o755)
    await writeFileAtomic(file, key, { mode: 0o600, durable: true })
  }
  try {
    const ask = { key, subject: clientSubject(nodeName), purpose: clientPurpose, resumable: true, timeoutMs: approvalTimeoutMs }
    const cert = await obtainCertificate({ ...deps, api }, { ...ask, expirationSeconds: deps.expirationSeconds }, signal)
    await store.update(cert, key, clock.now())
  } catch (error) {
    // The same key would make the same name, and find the refused request again.
    if (isRefusal(error)) await rm(file, { force: true })
    if (!isFault(error, 'api-unauthorized')) throw error
    const text = `the token in ${bootstrapKubeconfig} is not accepted, it may have ended (kubeadm token create makes another)`
    throw new Fault('api-unauthorized', text, { cause: error })
  }
  await writeKubeconfig(kubeconfig, nodeKubeconfig(cluster, store.currentPath))
  await rm(file, { force: true })
}

/** Tries without end; the same failure over and over is one line. @throws the signal's reason, and what is no Fault */
const untilDone = async (
  { clock, log }: BootstrapDeps,
  bootstrapKubeconfig: string,
  run: () => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> => {
  let told = ''
  for (let failures = 1; ; failures++) {
    try {
      return await run()
    } catch (error) {
      if (signal?.aborted || !isFault(error)) throw error
      const pauseMs = pauseAfter(error, failures)
      const reason = describe(error)
      if (reason !== told) log.warn({ err: error, bootstrapKubeconfig, retryMs: pauseMs }, 'bootstrap failed, tries again')
      told = reason
      await clock.sleep(pauseMs, signal)
    }
  }
}

/**
 * Sees to it that `--kubeconfig` names a certificate that is valid, by bootstrap where it does not; tries until it does.
 * @returns whether a certificate was obtained
 * @throws Fault `certificate` or `bad-config` when there is no bootstrap kubeconfig to do it with; the signal's reason
 */
export const bootstrapClient = async (deps: BootstrapDeps, signal?: AbortSignal): Promise<boolean> => {
  const { bootstrapKubeconfig, clock, connect, kubeconfig, log } = deps
  const found = await standing(kubeconfig, clock.now())
  if (found.is === 'valid') return false
  if (bootstrapKubeconfig === undefined) throw hopeless(found, kubeconfig)
  log.info({ kubeconfig, bootstrapKubeconfig }, startText(found, kubeconfig))
  const api = await connect(bootstrapKubeconfig)
  try {
    await untilDone(deps, bootstrapKubeconfig, () => attempt(deps, api, bootstrapKubeconfig, signal), signal)
  } finally {
    api.close?.()
  }
  log.info({ kubeconfig }, 'bootstrap done: the node has a client certificate of its own')
  return true
}

const startText = (found: Standing, kubeconfig: string): string => {
  if (found.is === 'ended')
    return `bootstrap: the client certificate in ${found.file} ended at ${new Date(found.at).toISOString()}`
  if (found.is === 'unusable') return `bootstrap: kubeconfig ${kubeconfig} cannot be used: ${describe(found.fault)}`
  return `bootstrap: kubeconfig ${kubeconfig} does not exist`
}
