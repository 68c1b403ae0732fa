// Who the node is: its client certificate towards the apiserver, its serving certificate towards those who call the kubelet API.
// Puts the parts together; what is decided is in the pure files beside it, what is done in bootstrap.ts, rotation.ts and serving.ts.
// Follows k8s.io: TLS bootstrapping; Certificate Rotation for the Kubelet.
import type { SecureContextOptions, Server } from 'node:tls'
import { readKubeconfig } from '../../api/kube/kubeconfig.ts'
import { canonicalAddress } from '../../host/address.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { except } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import { bootstrapClient, type Connect } from './bootstrap.ts'
import { hasEnded, type Pair, parsePair } from './certificate.ts'
import type { SigningApi } from './obtain.ts'
import { createPairStore, type PairStore, readPair, stateOf } from './pair-store.ts'
import { createRotation, type Rotation } from './rotation.ts'
import { type FileServing, serveFromFiles, servingFiles, signOwn } from './serving.ts'
import { clientPurpose, clientSubject, type NodeAddress, servingPurpose, servingSubject } from './signing-request.ts'
import { type MakeX509, makeX509 as makeX509Here } from './x509.ts'

export interface IdentityDeps {
  readonly nodeName: string
  /** `--cert-dir` */
  readonly certDir: string
  /** `--kubeconfig`; undefined for a machine of its own. */
  readonly kubeconfig: string | undefined
  readonly bootstrapKubeconfig: string | undefined
  /** Fields of KubeletConfiguration. */
  readonly rotateCertificates: boolean
  readonly serverTLSBootstrap: boolean
  readonly tlsCertFile: string
  readonly tlsPrivateKeyFile: string
  /** The addresses in the Node's status, as they are now. */
  readonly addresses: () => readonly NodeAddress[]
  readonly connect: Connect
  readonly clock: Clock
  readonly log: Log
  /** In this process when not given; x509-apart.ts has one that costs no memory. */
  readonly makeX509?: MakeX509
  /** In [0, 1). */
  readonly random?: () => number
  /** The life to ask for in every request; the signer's own default when not given, as upstream. */
  readonly expirationSeconds?: number
  /** A serving certificate was replaced that had lived so long: certificate_manager_server_rotation_seconds. */
  readonly onServingRotated?: (livedMs: number) => void
}

/** For metrics: certificate_manager_{client,server}_ttl_seconds, client_expiration_renew_errors, server_expiration_renew_errors. */
export interface IdentityFigures {
  /** Undefined when there is no such certificate in use. */
  readonly clientNotAfter: Millis | undefined
  readonly servingNotAfter: Millis | undefined
  readonly clientRenewErrors: number
  readonly servingRenewErrors: number
}

export interface Identity {
  /**
   * Sees to it that `kubeconfig` names a valid certificate; with a bootstrap kubeconfig it tries until it does.
   * @throws Fault `certificate` (ended, and no bootstrap kubeconfig), `bad-config`; the signal's reason
   */
  bootstrap(signal?: AbortSignal): Promise<void>
  /** Starts the rotation of the client certificate, where that is wanted and there is one. Once, after `bootstrap`. */
  startClient(api: SigningApi): Promise<void>
  /**
   * Prepares the serving certificate and keeps it. Once; needs no apiserver unless serverTLSBootstrap.
   * @throws Fault `certificate`, `bad-config`, `io` when files that were given cannot be used
   */
  startServing(api: SigningApi | undefined): Promise<void>
  /** The client certificate to use where the kubeconfig names an older one; undefined where none is rotated. */
  clientCertificate(): Pair | undefined
  /** Calls `listener` for every other client certificate. Returns how to stop. */
  onClientChange(listener: (pair: Pair) => void): () => void
  /** Undefined until there is one: handshakes then fail. */
  servingCertificate(): Pair | undefined
  /** Calls `listener` for every other serving certificate. Returns how to stop. */
  onChange(listener: (pair: Pair) => void): () => void
  /**
   * Gives a server the serving certificate, now and whenever it changes. Returns how to stop.
   * @param options the server's other TLS options: a context is replaced as a whole
   */
  secure(server: Pick<Server, 'setSecureContext'>, options: SecureContextOptions): () => void
  /** The node's addresses may have changed. */
  addressesChanged(): void
  figures(): IdentityFigures
  stop(): Promise<void>
}

const createAnnouncer = () => {
  const listeners = new Set<(pair: Pair) => void>()
  return {
    tell: (pair: Pair) => {
      for (const listener of [...listeners]) listener(pair)
    },
    subscribe: (listener: (pair: Pair) => void) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}

/** Loads only when one of the files is another than the last time. */
const whenChanged = (files: readonly string[], load: () => Promise<Pair | undefined>): (() => Promise<Pair | undefined>) => {
  let state: string | undefined
  let last: Pair | undefined
  return async () => {
    const now = await stateOf(...files)
    if (now === state) return last
    last = await load()
    state = now
    return last
  }
}

/** The pair in the store, or the other one while that is missing or has ended. */
const firstUsable = async (store: PairStore, other: () => Promise<Pair | undefined>, now: Millis): Promise<Pair | undefined> => {
  const stored = await except(store.current(), 'certificate')
  if (stored !== undefined && !hasEnded(stored.facts, now)) return stored
  return (await other()) ?? stored
}

interface Part extends IdentityDeps {
  readonly makeX509: MakeX509
  readonly random: () => number
  readonly store: PairStore
  readonly onChange: (pair: Pair) => void
}

/** @returns undefined when the kubeconfig names no certificate */
const rotateClient = async (part: Part, kubeconfig: string, api: SigningApi): Promise<Rotation | undefined> => {
  const { bootstrapKubeconfig, clock, connect, log, nodeName, store } = part
  const { certificate, files, key } = await readKubeconfig(kubeconfig)
  if (certificate === undefined || key === undefined) {
    log.info({ kubeconfig }, 'the kubeconfig names no client certificate: none is rotated')
    return undefined
  }
  // kubeadm writes a certificate into the kubeconfig of a control plane node and expects it in the folder, and rotated, right away.
  const isInline = !files.includes(certificate.from)
  const stored = await except(store.current(), 'certificate')
  const replaceFirst = isInline && (stored === undefined || hasEnded(stored.facts, clock.now()))
  if (replaceFirst) await store.update(certificate.pem, key.pem, clock.now())
  const fromKubeconfig = async () => {
    const now = await readKubeconfig(kubeconfig)
    return now.certificate && now.key && parsePair(now.certificate.pem, now.key.pem, now.certificate.from)
  }
  return createRotation({
    ...part,
    name: 'client',
    api,
    whenEnded: bootstrapKubeconfig === undefined ? undefined : async () => connect(bootstrapKubeconfig),
    endedAdvice: `: the apiserver takes nothing from this node; put a new one into ${store.currentPath}, or start with --bootstrap-kubeconfig`,
    load: whenChanged([store.currentPath, ...files], () => firstUsable(store, fromKubeconfig, clock.now())),
    subject: () => clientSubject(nodeName),
    purpose: clientPurpose,
    replaceFirst,
  })
}

const rotateServing = (part: Part, api: SigningApi): Rotation => {
  const { addresses, clock, log, nodeName, store, tlsCertFile, tlsPrivateKeyFile } = part
  const given = servingFiles(part.certDir, tlsCertFile, tlsPrivateKeyFile).given
  const files = [store.currentPath, ...(given ? [tlsCertFile, tlsPrivateKeyFile] : [])]
  const fromFiles = async () => (given ? readPair(tlsCertFile, tlsPrivateKeyFile) : undefined)
  log.info({}, 'the serving certificate is requested from the cluster: TLS handshakes fail as long as there is none')
  return createRotation({
    ...part,
    name: 'serving',
    api,
    load: whenChanged(files, () => firstUsable(store, fromFiles, clock.now())),
    subject: () => servingSubject(nodeName, addresses()),
    purpose: servingPurpose,
    onRotated: part.onServingRotated,
  })
}

const serveFiles = (part: Part): Promise<FileServing> => {
  const { addresses, certDir, makeX509, nodeName } = part
  const files = servingFiles(certDir, part.tlsCertFile, part.tlsPrivateKeyFile)
  const sign = (now: Millis) => {
    const names = [nodeName, ...addresses().map(it => it.address)]
    const ips = [...new Set(names.flatMap(it => canonicalAddress(it) ?? []))]
    return signOwn({ files, certDir, nodeName, addresses: ips, makeX509 }, now)
  }
  return serveFromFiles({ ...part, files, sign })
}

/** Reads and starts nothing before it is asked to. */
export const createIdentity = (deps: IdentityDeps): Identity => {
  const { certDir, kubeconfig, makeX509 = makeX509Here, random = Math.random } = deps
  const clientChanges = createAnnouncer()
  const servingChanges = createAnnouncer()
  const part = { ...deps, makeX509, random }
  const clientPart: Part = { ...part, store: createPairStore(certDir, 'kubelet-client'), onChange: clientChanges.tell }
  const servingPart: Part = { ...part, store: createPairStore(certDir, 'kubelet-server'), onChange: servingChanges.tell }
  let client: Rotation | undefined
  let servingRotation: Rotation | undefined
  let servingFromFiles: FileServing | undefined
  const servingCertificate = () => servingRotation?.current() ?? servingFromFiles?.current()

  return {
    bootstrap: async signal => {
      if (kubeconfig !== undefined) await bootstrapClient({ ...clientPart, kubeconfig }, signal)
    },
    startClient: async api => {
      if (kubeconfig !== undefined && deps.rotateCertificates) client = await rotateClient(clientPart, kubeconfig, api)
    },
    startServing: async api => {
      if (deps.serverTLSBootstrap && api !== undefined) servingRotation = rotateServing(servingPart, api)
      else servingFromFiles = await serveFiles(servingPart)
    },
    clientCertificate: () => client?.current(),
    onClientChange: clientChanges.subscribe,
    servingCertificate,
    onChange: servingChanges.subscribe,
    secure: (server, options) => {
      const give = ({ cert, key }: Pair) => server.setSecureContext({ ...options, cert, key })
      const now = servingCertificate()
      if (now !== undefined) give(now)
      return servingChanges.subscribe(give)
    },
    addressesChanged: () => servingRotation?.reconsider(),
    figures: () => ({
      clientNotAfter: client?.current()?.facts.notAfter,
      servingNotAfter: servingCertificate()?.facts.notAfter,
      clientRenewErrors: client?.failures ?? 0,
      servingRenewErrors: servingRotation?.failures ?? 0,
    }),
    stop: async () => {
      servingFromFiles?.stop()
      await Promise.all([client?.stop(), servingRotation?.stop()])
    },
  }
}
