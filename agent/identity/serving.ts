// The certificate that the kubelet API is served with, where it is not requested from the cluster: files that somebody else keeps, or
// one that the node signs itself. Requested ones (serverTLSBootstrap) are rotation.ts's.
// Follows the kubelet's InitializeTLS: kubelet.crt and kubelet.key in the certificate folder, made when missing, never when foreign.
import { join } from 'node:path'
import type { Clock, Millis } from '../../host/clock.ts'
import { describe, Fault } from '../../host/fault.ts'
import { ensureDir, writeFileAtomic } from '../../host/files.ts'
import type { Log } from '../../host/log.ts'
import { type CertificateFacts, hasEnded, type Pair } from './certificate.ts'
import { readPair, stateOf } from './pair-store.ts'
import { type MakeX509, newKey } from './x509.ts'

export interface FilePair {
  readonly certFile: string
  readonly keyFile: string
}

/** Where the files are. @throws Fault `bad-config` when only one of the two is given */
export const servingFiles = (
  certDir: string,
  tlsCertFile: string,
  tlsPrivateKeyFile: string,
): FilePair & { readonly given: boolean } => {
  if ((tlsCertFile === '') !== (tlsPrivateKeyFile === '')) {
    const [has, lacks] = tlsCertFile === '' ? ['tlsPrivateKeyFile', 'tlsCertFile'] : ['tlsCertFile', 'tlsPrivateKeyFile']
    throw new Fault('bad-config', `${has} is given without ${lacks}: give both or none`, { retry: 'never' })
  }
  if (tlsCertFile !== '') return { certFile: tlsCertFile, keyFile: tlsPrivateKeyFile, given: true }
  return { certFile: join(certDir, 'kubelet.crt'), keyFile: join(certDir, 'kubelet.key'), given: false }
}

/** True for a certificate that a node signed itself, this program or a kubelet: only such a one may be replaced. Pure. */
export const isSelfMade = ({ issuer }: Pick<CertificateFacts, 'issuer'>): boolean => /(^|\n)CN=[^\n]*-ca@\d+$/.test(issuer)

export interface SelfSignDeps {
  readonly files: FilePair
  readonly certDir: string
  readonly nodeName: string
  readonly addresses: readonly string[]
  readonly makeX509: MakeX509
}

/** Signs a certificate for the node's name and addresses and writes it: the certificate 0644, the key 0600. @throws Fault `io` */
export const signOwn = async ({ files, certDir, nodeName, addresses, makeX509 }: SelfSignDeps, now: Millis): Promise<void> => {
  const key = newKey()
  const dnsNames = addresses.includes(nodeName) ? [] : [nodeName]
  const cert = await makeX509({ make: 'self-signed', key, host: nodeName, dnsNames, addresses, now })
  try {
    await ensureDir(certDir, 0o755)
    // The key first: a certificate without one would be taken for broken.
    await writeFileAtomic(files.keyFile, key, { mode: 0o600, durable: true })
    await writeFileAtomic(files.certFile, cert, { mode: 0o644, durable: true })
  } catch (cause) {
    throw new Fault('io', `${files.certFile} or ${files.keyFile} cannot be written`, { cause })
  }
}

export interface FileServingDeps {
  readonly files: FilePair & { readonly given: boolean }
  readonly sign: (now: Millis) => Promise<void>
  readonly clock: Clock
  readonly log: Log
  readonly onChange: (pair: Pair) => void
}

export interface FileServing {
  current(): Pair | undefined
  stop(): void
}

/** As upstream looks at files that others keep. */
const lookMs = 60_000

/** The pair to serve with, made or made anew where that is ours to do. @throws Fault `certificate`, `io` */
const prepare = async ({ clock, files, log, sign }: FileServingDeps): Promise<Pair> => {
  const { certFile, keyFile, given } = files
  const found = await readPair(certFile, keyFile)
  if (found !== undefined && (given || !isSelfMade(found.facts) || !hasEnded(found.facts, clock.now()))) return found
  if (given)
    throw new Fault('certificate', `${certFile} or ${keyFile} (tlsCertFile, tlsPrivateKeyFile) does not exist`, {
      retry: 'never',
    })
  await sign(clock.now())
  log.info(
    { certFile },
    found === undefined ? 'serving certificate signed by the node itself' : 'self-signed serving certificate ended, made anew',
  )
  const made = await readPair(certFile, keyFile)
  if (made === undefined) throw new Fault('io', `${certFile} and ${keyFile} went away right after they were written`)
  return made
}

/**
 * Serves with the files, loads them again when they change, and says so when what is in them has ended.
 * @throws Fault `certificate`, `io` when there is nothing to begin with
 */
export const serveFromFiles = async (deps: FileServingDeps): Promise<FileServing> => {
  const { clock, files, log, onChange } = deps
  let pair: Pair | undefined
  let state = ''
  let told = ''
  let stopped = false
  const tell = (text: string, fields: object) => {
    if (text !== '' && text !== told) log.warn(fields, text)
    told = text
  }
  const look = async () => {
    const isEnded = pair !== undefined && hasEnded(pair.facts, clock.now())
    if (!isEnded && (await stateOf(files.certFile, files.keyFile)) === state) return
    const found = await prepare(deps)
    state = await stateOf(files.certFile, files.keyFile)
    const ended = hasEnded(found.facts, clock.now())
    const until = new Date(found.facts.notAfter).toISOString()
    tell(ended ? `the serving certificate in ${files.certFile} has ended: put a new one there` : '', { until })
    if (found.facts.fingerprint === pair?.facts.fingerprint) return
    pair = found
    onChange(found)
  }
  const lookAgain = async () => {
    try {
      await look()
    } catch (err) {
      tell(`serving certificate files cannot be used, the last good ones stay: ${describe(err)}`, { err })
    }
    if (!stopped) timer = clock.after(lookMs, lookAgain)
  }
  await look()
  let timer = clock.after(lookMs, lookAgain)
  return {
    current: () => pair,
    stop: () => {
      stopped = true
      timer.cancel()
    },
  }
}
