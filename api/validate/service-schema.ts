// The shape of Services, ConfigMaps and Secrets. Checked against api/types.ts by the compiler, as container-schema.ts is.
import { array, custom, type GenericSchema } from 'valibot'
import type { Service, ServicePort, ServiceSpec } from '../service-types.ts'
import type { ConfigMap, Secret } from '../types.ts'
import { protocol } from './container-schema.ts'
import { metadataSchema } from './metadata-schema.ts'
import { type Fields, flag, int32, intOrString, oneOf, optional, strict, text, textMap, texts } from './shape.ts'

const port = strict({
  name: optional(text),
  protocol: optional(protocol),
  port: int32,
  targetPort: optional(intOrString),
  nodePort: optional(int32),
  appProtocol: optional(text),
} satisfies Fields<ServicePort>)

const trafficPolicy = optional(oneOf(['Cluster', 'Local']))

const spec = strict({
  type: optional(oneOf(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'])),
  selector: optional(textMap),
  ports: optional(array(port)),
  clusterIP: optional(text),
  clusterIPs: optional(texts),
  ipFamilies: optional(array(oneOf(['IPv4', 'IPv6']))),
  ipFamilyPolicy: optional(oneOf(['SingleStack', 'PreferDualStack', 'RequireDualStack'])),
  externalIPs: optional(texts),
  externalName: optional(text),
  sessionAffinity: optional(oneOf(['None', 'ClientIP'])),
  sessionAffinityConfig: optional(strict({ clientIP: optional(strict({ timeoutSeconds: optional(int32) })) })),
  internalTrafficPolicy: trafficPolicy,
  externalTrafficPolicy: trafficPolicy,
  trafficDistribution: optional(oneOf(['PreferClose', 'PreferSameZone', 'PreferSameNode'])),
  healthCheckNodePort: optional(int32),
  publishNotReadyAddresses: optional(flag),
  loadBalancerIP: optional(text),
  loadBalancerClass: optional(text),
  loadBalancerSourceRanges: optional(texts),
  allocateLoadBalancerNodePorts: optional(flag),
} satisfies Fields<ServiceSpec>)

const status = custom<NonNullable<Service['status']>>(
  value => typeof value === 'object' && value !== null,
  'want a mapping of fields',
)
const identity = { apiVersion: optional(text), kind: optional(text), metadata: metadataSchema }

export const serviceSchema = strict({
  ...identity,
  spec,
  status: optional(status),
} satisfies Fields<Service>) satisfies GenericSchema<unknown, Service>

export const configMapSchema = strict({
  ...identity,
  data: optional(textMap),
  binaryData: optional(textMap),
  immutable: optional(flag),
} satisfies Fields<ConfigMap>) satisfies GenericSchema<unknown, ConfigMap>

export const secretSchema = strict({
  ...identity,
  type: optional(text),
  data: optional(textMap),
  stringData: optional(textMap),
  immutable: optional(flag),
} satisfies Fields<Secret>) satisfies GenericSchema<unknown, Secret>
