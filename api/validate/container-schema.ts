// The shape of a container, of its probes, hooks and environment. Checked against api/types.ts by the compiler:
// every field of the type has an entry here, and what is read is of the type.
import { array, type GenericSchema } from 'valibot'
import type { ResourceRequirements } from '../meta.ts'
import type {
  Container,
  ContainerPort,
  ContainerRestartRule,
  EnvFromSource,
  EnvVar,
  FieldRef,
  HttpGetAction,
  KeyRef,
  Lifecycle,
  LifecycleHandler,
  Probe,
  ResourceFieldRef,
  SELinuxOptions,
  SecurityContext,
  SecurityProfile,
  VolumeMount,
} from '../types.ts'
import {
  anyMapping,
  type Fields,
  flag,
  int32,
  int64,
  intOrString,
  oneOf,
  optional,
  quantities,
  quantity,
  strict,
  text,
  texts,
} from './shape.ts'

export const protocol = oneOf(['TCP', 'UDP', 'SCTP'])

const port = strict({
  name: optional(text),
  containerPort: int32,
  hostPort: optional(int32),
  hostIP: optional(text),
  protocol: optional(protocol),
} satisfies Fields<ContainerPort>)

export const fieldRef = strict({ apiVersion: optional(text), fieldPath: text } satisfies Fields<FieldRef>)

export const resourceFieldRef = strict({
  containerName: optional(text),
  resource: text,
  divisor: optional(quantity),
} satisfies Fields<ResourceFieldRef>)

const keyRef = strict({ name: optional(text), key: text, optional: optional(flag) } satisfies Fields<KeyRef>)

const fileKeyRef = strict({ volumeName: text, path: text, key: text, optional: optional(flag) })

const envVar = strict({
  name: text,
  value: optional(text),
  valueFrom: optional(
    strict({
      fieldRef: optional(fieldRef),
      resourceFieldRef: optional(resourceFieldRef),
      configMapKeyRef: optional(keyRef),
      secretKeyRef: optional(keyRef),
      fileKeyRef: optional(fileKeyRef),
    } satisfies Fields<NonNullable<EnvVar['valueFrom']>>),
  ),
} satisfies Fields<EnvVar>)

const wholeObjectRef = strict({ name: optional(text), optional: optional(flag) })

const envFrom = strict({
  prefix: optional(text),
  configMapRef: optional(wholeObjectRef),
  secretRef: optional(wholeObjectRef),
} satisfies Fields<EnvFromSource>)

export const resourcesSchema = strict({
  requests: optional(quantities),
  limits: optional(quantities),
  claims: optional(array(anyMapping)),
} satisfies Fields<ResourceRequirements>)

const volumeMount = strict({
  name: text,
  mountPath: text,
  readOnly: optional(flag),
  recursiveReadOnly: optional(oneOf(['Disabled', 'IfPossible', 'Enabled'])),
  subPath: optional(text),
  subPathExpr: optional(text),
  mountPropagation: optional(oneOf(['None', 'HostToContainer', 'Bidirectional'])),
} satisfies Fields<VolumeMount>)

const httpGet = strict({
  path: optional(text),
  port: intOrString,
  host: optional(text),
  scheme: optional(oneOf(['HTTP', 'HTTPS'])),
  httpHeaders: optional(array(strict({ name: text, value: text }))),
} satisfies Fields<HttpGetAction>)

const handlers = {
  exec: optional(strict({ command: optional(texts) })),
  httpGet: optional(httpGet),
  tcpSocket: optional(strict({ host: optional(text), port: intOrString })),
}

const probe = strict({
  ...handlers,
  grpc: optional(strict({ port: int32, service: optional(text) })),
  initialDelaySeconds: optional(int32),
  timeoutSeconds: optional(int32),
  periodSeconds: optional(int32),
  successThreshold: optional(int32),
  failureThreshold: optional(int32),
  terminationGracePeriodSeconds: optional(int64),
} satisfies Fields<Probe>)

const hook = strict({ ...handlers, sleep: optional(strict({ seconds: int64 })) } satisfies Fields<LifecycleHandler>)

const lifecycle = strict({
  postStart: optional(hook),
  preStop: optional(hook),
  stopSignal: optional(text),
} satisfies Fields<Lifecycle>)

export const securityProfile = strict({
  type: oneOf(['Unconfined', 'RuntimeDefault', 'Localhost']),
  localhostProfile: optional(text),
} satisfies Fields<SecurityProfile>)

export const seLinuxOptions = strict({
  user: optional(text),
  role: optional(text),
  type: optional(text),
  level: optional(text),
} satisfies Fields<SELinuxOptions>)

const securityContext = strict({
  ...({
    capabilities: optional(strict({ add: optional(texts), drop: optional(texts) })),
    privileged: optional(flag),
    runAsUser: optional(int64),
    runAsGroup: optional(int64),
    runAsNonRoot: optional(flag),
    readOnlyRootFilesystem: optional(flag),
    allowPrivilegeEscalation: optional(flag),
    procMount: optional(oneOf(['Default', 'Unmasked'])),
    seccompProfile: optional(securityProfile),
    appArmorProfile: optional(securityProfile),
    seLinuxOptions: optional(seLinuxOptions),
  } satisfies Fields<SecurityContext>),
  windowsOptions: optional(anyMapping),
})

const restartRule = strict({
  action: oneOf(['Restart', 'RestartAllContainers']),
  exitCodes: optional(strict({ operator: oneOf(['In', 'NotIn']), values: array(int32) })),
} satisfies Fields<ContainerRestartRule>)

const resizePolicy = strict({
  resourceName: oneOf(['cpu', 'memory']),
  restartPolicy: oneOf(['NotRequired', 'RestartContainer']),
})

const fields = {
  name: text,
  image: text,
  command: optional(texts),
  args: optional(texts),
  workingDir: optional(text),
  ports: optional(array(port)),
  env: optional(array(envVar)),
  envFrom: optional(array(envFrom)),
  resources: optional(resourcesSchema),
  volumeMounts: optional(array(volumeMount)),
  volumeDevices: optional(array(strict({ name: text, devicePath: text }))),
  livenessProbe: optional(probe),
  readinessProbe: optional(probe),
  startupProbe: optional(probe),
  lifecycle: optional(lifecycle),
  terminationMessagePath: optional(text),
  terminationMessagePolicy: optional(oneOf(['File', 'FallbackToLogsOnError'])),
  imagePullPolicy: optional(oneOf(['Always', 'IfNotPresent', 'Never'])),
  securityContext: optional(securityContext),
  stdin: optional(flag),
  stdinOnce: optional(flag),
  tty: optional(flag),
  restartPolicy: optional(oneOf(['Always', 'OnFailure', 'Never'])),
  restartPolicyRules: optional(array(restartRule)),
  resizePolicy: optional(array(resizePolicy)),
  targetContainerName: optional(text),
} satisfies Fields<Container>

export const containerSchema = strict(fields) satisfies GenericSchema<unknown, Container>
