// What the apiserver fills in before anybody sees an object: pure functions from a manifest to the object with its defaults.
// Objects that come from an apiserver have them already; those from a folder go through here, after api/validate.
// Follows k8s.io: pkg/apis/core/v1/defaults.go of 1.36 (as facts); api/defaults-resources.ts does requests and limits.
import { defaultContainerResources, defaultPodResources } from './defaults-resources.ts'
import type { Service, ServicePort, ServiceSpec } from './service-types.ts'
import type {
  ConfigMap,
  Container,
  EnvVar,
  Handler,
  HttpGetAction,
  Lifecycle,
  Pod,
  Probe,
  ProjectedSource,
  Secret,
  Volume,
} from './types.ts'

const fileMode = 0o644

/** The tag of an image name as the runtime would read it; `latest` when it has neither tag nor digest, else empty. */
export const imageTag = (image: string): string => {
  const [name = '', digest] = image.split('@', 2)
  const colon = name.lastIndexOf(':')
  if (colon > name.lastIndexOf('/')) return name.slice(colon + 1)
  return digest === undefined ? 'latest' : ''
}

const defaultHttpGet = (action: HttpGetAction): HttpGetAction => ({
  ...action,
  path: action.path || '/',
  scheme: action.scheme ?? 'HTTP',
})

const defaultHandler = <T extends Handler>(handler: T): T =>
  handler.httpGet === undefined ? handler : { ...handler, httpGet: defaultHttpGet(handler.httpGet) }

const defaultProbe = (probe: Probe): Probe => ({
  ...defaultHandler(probe),
  timeoutSeconds: probe.timeoutSeconds || 1,
  periodSeconds: probe.periodSeconds || 10,
  successThreshold: probe.successThreshold || 1,
  failureThreshold: probe.failureThreshold || 3,
  ...(probe.grpc && { grpc: { ...probe.grpc, service: probe.grpc.service ?? '' } }),
})

const defaultLifecycle = (lifecycle: Lifecycle): Lifecycle => ({
  ...lifecycle,
  ...(lifecycle.postStart && { postStart: defaultHandler(lifecycle.postStart) }),
  ...(lifecycle.preStop && { preStop: defaultHandler(lifecycle.preStop) }),
})

const defaultFieldRef = <T extends { readonly fieldRef?: { readonly apiVersion?: string; readonly fieldPath: string } }>(
  holder: T,
): T =>
  holder.fieldRef === undefined
    ? holder
    : { ...holder, fieldRef: { ...holder.fieldRef, apiVersion: holder.fieldRef.apiVersion ?? 'v1' } }

const defaultEnv = (variable: EnvVar): EnvVar =>
  variable.valueFrom === undefined ? variable : { ...variable, valueFrom: defaultFieldRef(variable.valueFrom) }

const defaultContainer = (container: Container, hostNetwork: boolean): Container => ({
  ...container,
  imagePullPolicy: container.imagePullPolicy ?? (imageTag(container.image) === 'latest' ? 'Always' : 'IfNotPresent'),
  terminationMessagePath: container.terminationMessagePath || '/dev/termination-log',
  terminationMessagePolicy: container.terminationMessagePolicy ?? 'File',
  resources: defaultContainerResources(container.resources ?? {}),
  ...(container.ports && {
    ports: container.ports.map(port => ({
      ...port,
      protocol: port.protocol ?? 'TCP',
      // a pod in the host's network has each of its ports on the host, said or not
      ...(hostNetwork && { hostPort: port.hostPort || port.containerPort }),
    })),
  }),
  ...(container.env && { env: container.env.map(defaultEnv) }),
  ...(container.livenessProbe && { livenessProbe: defaultProbe(container.livenessProbe) }),
  ...(container.readinessProbe && { readinessProbe: defaultProbe(container.readinessProbe) }),
  ...(container.startupProbe && { startupProbe: defaultProbe(container.startupProbe) }),
  ...(container.lifecycle && { lifecycle: defaultLifecycle(container.lifecycle) }),
})

const defaultProjectedSource = (source: ProjectedSource): ProjectedSource => ({
  ...source,
  ...(source.downwardAPI?.items && {
    downwardAPI: { ...source.downwardAPI, items: source.downwardAPI.items.map(defaultFieldRef) },
  }),
  ...(source.serviceAccountToken && {
    serviceAccountToken: {
      ...source.serviceAccountToken,
      expirationSeconds: source.serviceAccountToken.expirationSeconds ?? 3600,
    },
  }),
})

const defaultVolume = (volume: Volume): Volume => {
  const { hostPath, configMap, secret, downwardAPI, projected } = volume
  if (hostPath) return { ...volume, hostPath: { ...hostPath, type: hostPath.type ?? '' } }
  if (configMap) return { ...volume, configMap: { ...configMap, defaultMode: configMap.defaultMode ?? fileMode } }
  if (secret) return { ...volume, secret: { ...secret, defaultMode: secret.defaultMode ?? fileMode } }
  if (downwardAPI) {
    const items = downwardAPI.items && { items: downwardAPI.items.map(defaultFieldRef) }
    return { ...volume, downwardAPI: { ...downwardAPI, ...items, defaultMode: downwardAPI.defaultMode ?? fileMode } }
  }
  if (projected) {
    const sources = (projected.sources ?? []).map(defaultProjectedSource)
    return { ...volume, projected: { ...projected, sources, defaultMode: projected.defaultMode ?? fileMode } }
  }
  // a volume that names no source is an empty directory
  return Object.keys(volume).length === 1 ? { ...volume, emptyDir: {} } : volume
}

/** A pod with every default the apiserver would fill in; defaulting twice changes nothing more. */
export const defaultPod = (pod: Pod): Pod => {
  const { spec } = pod
  const hostNetwork = spec.hostNetwork ?? false
  const containers = spec.containers.map(container => defaultContainer(container, hostNetwork))
  const initContainers = spec.initContainers?.map(container => defaultContainer(container, hostNetwork))
  const defaulted = {
    ...spec,
    containers,
    ...(initContainers && { initContainers }),
    ...(spec.volumes && { volumes: spec.volumes.map(defaultVolume) }),
    dnsPolicy: spec.dnsPolicy ?? 'ClusterFirst',
    restartPolicy: spec.restartPolicy ?? 'Always',
    terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds ?? 30,
    securityContext: spec.securityContext ?? {},
    enableServiceLinks: spec.enableServiceLinks ?? true,
  } as const
  return { ...pod, spec: { ...defaulted, ...(spec.resources && { resources: defaultPodResources(defaulted, spec.resources) }) } }
}

const defaultServicePort = (port: ServicePort): ServicePort => ({
  ...port,
  protocol: port.protocol ?? 'TCP',
  targetPort: port.targetPort || port.port,
})

const affinityOf = (spec: ServiceSpec): Pick<ServiceSpec, 'sessionAffinity' | 'sessionAffinityConfig'> => {
  if (spec.sessionAffinity !== 'ClientIP') return { sessionAffinity: 'None' }
  const timeoutSeconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 10_800
  return { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds } } }
}

/** A Service with every default the apiserver would fill in, but for the addresses and node ports that it would allocate. */
export const defaultService = (service: Service): Service => {
  const { sessionAffinityConfig: _, ...spec } = service.spec
  const type = spec.type ?? 'ClusterIP'
  const external = type === 'NodePort' || type === 'LoadBalancer' || (type === 'ClusterIP' && (spec.externalIPs?.length ?? 0) > 0)
  return {
    ...service,
    spec: {
      ...spec,
      ...affinityOf(service.spec),
      type,
      ...(spec.ports && { ports: spec.ports.map(defaultServicePort) }),
      ...(external && { externalTrafficPolicy: spec.externalTrafficPolicy ?? 'Cluster' }),
      ...(type !== 'ExternalName' && { internalTrafficPolicy: spec.internalTrafficPolicy ?? 'Cluster' }),
      ...(type === 'LoadBalancer' && { allocateLoadBalancerNodePorts: spec.allocateLoadBalancerNodePorts ?? true }),
    },
  }
}

/** A ConfigMap as it is stored: `data` is always there. */
export const defaultConfigMap = (configMap: ConfigMap): ConfigMap => ({ ...configMap, data: configMap.data ?? {} })

/** A Secret as it is stored: of type Opaque unless said, `stringData` encoded into `data`, over what is there. */
export const defaultSecret = ({ stringData, ...secret }: Secret): Secret => ({
  ...secret,
  type: secret.type || 'Opaque',
  data: {
    ...secret.data,
    ...Object.fromEntries(
      Object.entries(stringData ?? {}).map(([key, text]) => [key, Buffer.from(text, 'utf8').toString('base64')]),
    ),
  },
})
