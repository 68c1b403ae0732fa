// The shape of a pod and of its volumes. Checked against api/types.ts by the compiler, as container-schema.ts is.
// Kinds of volumes that are known by name but not supported pass here; volumes.ts refuses them with a reason.
import { array, custom, type GenericSchema } from 'valibot'
import type { PodStatus } from '../pod-status.ts'
import type {
  DownwardFile,
  KeyToPath,
  Pod,
  PodDnsConfig,
  PodSecurityContext,
  PodSpec,
  ProjectedSource,
  Volume,
} from '../types.ts'
import {
  containerSchema,
  fieldRef,
  resourceFieldRef,
  resourcesSchema,
  securityProfile,
  seLinuxOptions,
} from './container-schema.ts'
import { metadataSchema } from './metadata-schema.ts'
import {
  anyMapping,
  type Fields,
  flag,
  int32,
  int64,
  oneOf,
  optional,
  quantities,
  quantity,
  strict,
  text,
  textMap,
  texts,
} from './shape.ts'

/** Volume sources of the API that no pod of a folder can use, with what to say about each. */
export const unsupportedVolumes = {
  persistentVolumeClaim: 'claims are bound by a control plane',
  ephemeral: 'claims are bound by a control plane',
  csi: 'CSI drivers are not supported yet',
  iscsi: 'iSCSI is not supported yet; mount it on the host and use hostPath',
  image: 'image volumes are not supported yet',
  gitRepo: 'gitRepo is disabled upstream too; clone in an init container into an emptyDir',
  fc: 'Fibre Channel is not supported; mount it on the host and use hostPath',
  flexVolume: 'FlexVolume is deprecated and not supported',
  awsElasticBlockStore: 'removed upstream in favour of CSI',
  azureDisk: 'removed upstream in favour of CSI',
  azureFile: 'removed upstream in favour of CSI',
  cephfs: 'removed upstream in favour of CSI',
  cinder: 'removed upstream in favour of CSI',
  flocker: 'removed upstream',
  gcePersistentDisk: 'removed upstream in favour of CSI',
  glusterfs: 'removed upstream',
  photonPersistentDisk: 'removed upstream',
  portworxVolume: 'removed upstream in favour of CSI',
  quobyte: 'removed upstream',
  rbd: 'removed upstream in favour of CSI',
  scaleIO: 'removed upstream',
  storageos: 'removed upstream',
  vsphereVolume: 'removed upstream in favour of CSI',
} as const

const keyToPath = strict({ key: text, path: text, mode: optional(int32) } satisfies Fields<KeyToPath>)
const items = optional(array(keyToPath))

const downwardFile = strict({
  path: text,
  fieldRef: optional(fieldRef),
  resourceFieldRef: optional(resourceFieldRef),
  mode: optional(int32),
} satisfies Fields<DownwardFile>)

const projectedSource = strict({
  ...({
    configMap: optional(strict({ name: optional(text), items, optional: optional(flag) })),
    secret: optional(strict({ name: optional(text), items, optional: optional(flag) })),
    downwardAPI: optional(strict({ items: optional(array(downwardFile)) })),
    serviceAccountToken: optional(strict({ audience: optional(text), expirationSeconds: optional(int64), path: text })),
    clusterTrustBundle: optional(anyMapping),
  } satisfies Fields<ProjectedSource>),
  podCertificate: optional(anyMapping),
})

const unsupported = Object.fromEntries(Object.keys(unsupportedVolumes).map(kind => [kind, optional(anyMapping)])) as {
  [K in keyof typeof unsupportedVolumes]: ReturnType<typeof optional<typeof anyMapping>>
}

const hostPathTypes = [
  '',
  'DirectoryOrCreate',
  'Directory',
  'FileOrCreate',
  'File',
  'Socket',
  'CharDevice',
  'BlockDevice',
] as const

const csi = strict({
  driver: text,
  readOnly: optional(flag),
  fsType: optional(text),
  volumeAttributes: optional(textMap),
  nodePublishSecretRef: optional(strict({ name: optional(text) })),
})

const volume = strict({
  name: text,
  emptyDir: optional(strict({ medium: optional(text), sizeLimit: optional(quantity) })),
  hostPath: optional(strict({ path: text, type: optional(oneOf(hostPathTypes)) })),
  configMap: optional(strict({ name: optional(text), items, defaultMode: optional(int32), optional: optional(flag) })),
  secret: optional(strict({ secretName: optional(text), items, defaultMode: optional(int32), optional: optional(flag) })),
  downwardAPI: optional(strict({ items: optional(array(downwardFile)), defaultMode: optional(int32) })),
  projected: optional(strict({ sources: optional(array(projectedSource)), defaultMode: optional(int32) })),
  ...unsupported,
  nfs: optional(strict({ server: text, path: text, readOnly: optional(flag) })),
  // refused, but one that is written right is told why and not what is wrong in it
  persistentVolumeClaim: optional(strict({ claimName: text, readOnly: optional(flag) })),
  csi: optional(csi),
}) satisfies GenericSchema<unknown, Volume>

const dnsConfig = strict({
  nameservers: optional(texts),
  searches: optional(texts),
  options: optional(array(strict({ name: text, value: optional(text) }))),
} satisfies Fields<PodDnsConfig>)

const podSecurityContext = strict({
  ...({
    runAsUser: optional(int64),
    runAsGroup: optional(int64),
    runAsNonRoot: optional(flag),
    supplementalGroups: optional(array(int64)),
    supplementalGroupsPolicy: optional(oneOf(['Merge', 'Strict'])),
    fsGroup: optional(int64),
    fsGroupChangePolicy: optional(oneOf(['OnRootMismatch', 'Always'])),
    sysctls: optional(array(strict({ name: text, value: text }))),
    seccompProfile: optional(securityProfile),
    appArmorProfile: optional(securityProfile),
    seLinuxOptions: optional(seLinuxOptions),
    seLinuxChangePolicy: optional(oneOf(['Recursive', 'MountOption'])),
  } satisfies Fields<PodSecurityContext>),
  windowsOptions: optional(anyMapping),
})

const mappings = optional(array(anyMapping))

const specFields = {
  containers: array(containerSchema),
  initContainers: optional(array(containerSchema)),
  ephemeralContainers: optional(array(containerSchema)),
  volumes: optional(array(volume)),
  restartPolicy: optional(oneOf(['Always', 'OnFailure', 'Never'])),
  terminationGracePeriodSeconds: optional(int64),
  activeDeadlineSeconds: optional(int64),
  dnsPolicy: optional(oneOf(['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'])),
  dnsConfig: optional(dnsConfig),
  nodeName: optional(text),
  nodeSelector: optional(textMap),
  hostNetwork: optional(flag),
  hostPID: optional(flag),
  hostIPC: optional(flag),
  hostUsers: optional(flag),
  shareProcessNamespace: optional(flag),
  hostname: optional(text),
  subdomain: optional(text),
  setHostnameAsFQDN: optional(flag),
  hostAliases: optional(array(strict({ ip: text, hostnames: optional(texts) }))),
  securityContext: optional(podSecurityContext),
  imagePullSecrets: optional(array(strict({ name: optional(text) }))),
  serviceAccountName: optional(text),
  automountServiceAccountToken: optional(flag),
  enableServiceLinks: optional(flag),
  priorityClassName: optional(text),
  priority: optional(int32),
  runtimeClassName: optional(text),
  overhead: optional(quantities),
  readinessGates: optional(array(strict({ conditionType: text }))),
  resources: optional(resourcesSchema),
  tolerations: mappings,
  affinity: optional(anyMapping),
  schedulerName: optional(text),
  topologySpreadConstraints: mappings,
  os: optional(strict({ name: oneOf(['linux', 'windows']) })),
} satisfies Fields<PodSpec>

/** Fields of the API that are no part of api/types.ts: left alone, or refused by pod.ts with a reason. */
const otherSpecFields = {
  serviceAccount: optional(text),
  preemptionPolicy: optional(oneOf(['Never', 'PreemptLowerPriority'])),
  hostnameOverride: optional(text),
  schedulingGates: mappings,
  schedulingGroup: optional(anyMapping),
  resourceClaims: mappings,
}

const status = custom<PodStatus>(value => typeof value === 'object' && value !== null, 'want a mapping of fields')

export const podSchema = strict({
  apiVersion: optional(text),
  kind: optional(text),
  metadata: metadataSchema,
  spec: strict({ ...specFields, ...otherSpecFields }),
  status: optional(status),
} satisfies Fields<Pod>) satisfies GenericSchema<unknown, Pod>
