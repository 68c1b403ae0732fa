// A node's place in a cluster: who it is, its connection to the apiserver, and everything the apiserver tells it, as sources.
// Nothing is reported here (reporting.ts does). Without an answer of the apiserver all of it is there, unsynced: pods run on.
// Follows the order of a kubelet's start: credentials first, for which a new node waits; then watches, for which nobody waits.
import { join } from 'node:path'
import { endpointSlices, nodes, pods, type Resource, serviceAccounts, services } from '../../api/kube/api.ts'
import { createKubeClient, type KubeClient } from '../../api/kube/client.ts'
import { createReflector, type Reflector, type ReflectorDeps } from '../../api/kube/reflector.ts'
import type { KubeObject } from '../../api/meta.ts'
import type { EndpointSlice, Service } from '../../api/service-types.ts'
import type { Pod } from '../../api/types.ts'
import type { Clock } from '../../host/clock.ts'
import type { Exec } from '../../host/exec.ts'
import type { Log } from '../../host/log.ts'
import type { AgentConfig } from '../config/agent-config.ts'
import type { CredentialProvidersDeps } from '../credential-providers.ts'
import { createIdentity, type Identity } from '../identity/identity.ts'
import { makeX509Apart } from '../identity/x509-apart.ts'
import type { NodeObject } from '../node.ts'
import { createEventRecorder, type EventRecorder } from '../report/events.ts'
import { trimToRoutes } from '../routes/routes.ts'
import { type ClusterPods, createClusterPods } from '../sources/cluster.ts'
import type { ManifestSources } from '../sources/manifests.ts'
import { openObjectMemory } from '../sources/object-memory.ts'
import { createPodObjects, type PodObjects } from '../sources/pod-objects.ts'
import { openRememberedPods } from '../sources/remembered.ts'
import { followClusterRanges, openPodRanges, type PodRanges } from './pod-ranges.ts'

export interface MembershipDeps {
  readonly config: AgentConfig
  readonly kubeconfig: string
  readonly manifests: ManifestSources
  /** In the Node's status, as they are now. */
  readonly addresses: () => readonly string[]
  /** A token of the pod has been renewed: its volumes are to be brought up to date. */
  readonly onTokenRenewed: (podUid: string) => void
  /** How to start a process of this program that makes certificates, with its arguments. */
  readonly x509: readonly string[]
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Log
}

export interface Membership {
  readonly client: KubeClient
  readonly identity: Identity
  readonly recorder: EventRecorder
  /** What the node should run: static pods and the apiserver's. */
  readonly wanted: ClusterPods
  /** All pods bound to this node, mirrors included. */
  readonly apiserverPods: Reflector<Pod>
  readonly services: Reflector<Service>
  readonly endpointSlices: Reflector<EndpointSlice>
  /** All Nodes, as far as routes to their pods need them; empty without the right to list them. */
  readonly nodes: Reflector<NodeObject>
  /** The one Node that is this one. */
  readonly node: Reflector<NodeObject>
  readonly objects: PodObjects
  /** What credential providers need to speak for a pod. */
  readonly accounts: NonNullable<CredentialProvidersDeps['accounts']>
  readonly podRanges: PodRanges
  /** The labels of the Node as it is known now; undefined before that. */
  nodeLabels(): Readonly<Record<string, string>> | undefined
  /** Reads the Node anew; resolves also when that fails. */
  lookAtNode(): Promise<void>
  /** Tells the ranges of all nodes' pods whenever they change. */
  followClusterRanges(onChange: (ranges: readonly string[]) => void): void
  stop(): Promise<void>
}

// Another controller's Services and slices of another proxy are not routed here; nor are headless Services (kube-proxy's own selectors).
const routed = '!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless'

const identityOf = (deps: MembershipDeps, connect: (kubeconfig: string) => KubeClient): Identity => {
  const { config, kubeconfig, exec, clock, log } = deps
  const { kubelet, nodeName, certDir, bootstrapKubeconfig } = config
  return createIdentity({
    ...{ nodeName, certDir, kubeconfig, bootstrapKubeconfig, connect, clock, log: log.child({ part: 'identity' }) },
    rotateCertificates: kubelet.rotateCertificates,
    serverTLSBootstrap: kubelet.serverTLSBootstrap,
    tlsCertFile: kubelet.tlsCertFile,
    tlsPrivateKeyFile: kubelet.tlsPrivateKeyFile,
    addresses: () => [
      { type: 'Hostname', address: nodeName },
      ...deps.addresses().map(address => ({ type: 'InternalIP', address })),
    ],
    makeX509: makeX509Apart({ exec, argv: deps.x509 }),
  })
}

const newer = (a: NodeObject | undefined, b: NodeObject | undefined): NodeObject | undefined =>
  Number(b?.metadata.resourceVersion ?? 0) > Number(a?.metadata.resourceVersion ?? 0) ? b : (a ?? b)

type Watches = Pick<Membership, 'apiserverPods' | 'services' | 'endpointSlices' | 'nodes' | 'node'>

/** @param clients the node's own, and that of whoever may read all Services and Nodes, as the proxy's configuration names it */
const watchCluster = (
  { client, proxyClient }: { readonly client: KubeClient; readonly proxyClient: KubeClient },
  { nodeName }: AgentConfig,
  clock: Clock,
  log: Log,
): Watches => {
  const reflect = <T extends KubeObject>(resource: Resource, more: Partial<ReflectorDeps<T>> = {}) =>
    createReflector<T>({ client, resource, clock, log, ...more })
  return {
    apiserverPods: reflect<Pod>(pods, { fieldSelector: `spec.nodeName=${nodeName}` }),
    services: reflect<Service>(services, { client: proxyClient, labelSelector: routed }),
    endpointSlices: reflect<EndpointSlice>(endpointSlices, { client: proxyClient, labelSelector: routed }),
    nodes: reflect<NodeObject>(nodes, { client: proxyClient, trim: trimToRoutes }),
    node: reflect<NodeObject>(nodes, { fieldSelector: `metadata.name=${nodeName}` }),
  }
}

/** What pods of the apiserver need to start without it, as far as it may be kept. */
const openMemories = async ({ config, clock, log }: MembershipDeps) => {
  const path = (name: string) => join(config.stateDir, 'offline', name)
  const { pods: keepsPods, secrets: keepsSecrets } = config.offline
  return {
    pods: keepsPods ? await openRememberedPods({ path: path('pods.json'), clock, log }) : undefined,
    objects: await openObjectMemory({ path: path('objects.json'), keepsSecrets, clock, log }),
  }
}

/** @throws Fault `certificate` or `bad-config` when the credentials cannot be used; the signal's reason */
export const joinCluster = async (deps: MembershipDeps, signal: AbortSignal): Promise<Membership> => {
  const { config, kubeconfig, manifests, exec, clock, log } = deps
  const { kubelet, nodeName, stateDir } = config
  const apiLog = log.child({ part: 'apiserver' })
  const connect = (path: string) => createKubeClient({ kubeconfig: path, exec, clock, log: apiLog })
  const identity = identityOf(deps, connect)
  await identity.bootstrap(signal)
  const client = connect(kubeconfig)
  await identity.startClient(client)
  const proxyKubeconfig = config.proxy.config.clientConnection.kubeconfig
  const proxyClient = proxyKubeconfig === '' ? client : connect(proxyKubeconfig)
  const watches = watchCluster({ client, proxyClient }, config, clock, apiLog)
  const memories = await openMemories(deps)
  const wanted = createClusterPods({
    statics: manifests.pods,
    apiserver: watches.apiserverPods,
    remembered: memories.pods?.pods ?? [],
    clock,
    log: log.child({ part: 'pods' }),
  })
  const forget = memories.pods?.follow(watches.apiserverPods)
  const objects = createPodObjects({
    ...{ client, memory: memories.objects, clock, log: log.child({ part: 'objects' }) },
    folder: manifests,
    strategy: kubelet.configMapAndSecretChangeDetectionStrategy,
    pollMs: kubelet.syncFrequency,
    onRenewed: deps.onTokenRenewed,
  })
  objects.follow(wanted)
  const podRanges = await openPodRanges({ path: join(stateDir, 'pod-ranges.json'), node: watches.node, clock, log })
  const accounts: Membership['accounts'] = {
    tokens: objects.tokens,
    get: (namespace, name) => client.get({ resource: serviceAccounts, namespace, name }),
  }
  const recorder = createEventRecorder({
    ...{ api: client, clock, log: log.child({ part: 'events' }), source: { component: 'kubelet', host: nodeName } },
    qps: kubelet.eventRecordQPS,
    burst: kubelet.eventBurst,
  })
  let looked: NodeObject | undefined
  let stopFollowing: (() => void) | undefined
  return {
    ...{ ...watches, client, identity, recorder, wanted, objects, accounts, podRanges },
    nodeLabels: () => newer(watches.node.get('', nodeName), looked)?.metadata.labels,
    lookAtNode: async () => {
      looked = await client.get<NodeObject>({ resource: nodes, name: nodeName }, { timeoutMs: 5_000 }).catch(() => looked)
    },
    followClusterRanges: onChange => {
      stopFollowing = followClusterRanges(watches.nodes, { clock, onChange })
    },
    stop: async () => {
      stopFollowing?.()
      await recorder.flush(1_000)
      recorder.stop()
      wanted.stop()
      objects.stop()
      for (const it of Object.values(watches)) it.stop()
      await Promise.all([forget?.(), memories.objects.flush(), podRanges.flush(), identity.stop()])
      proxyClient.close()
      client.close()
    },
  }
}
