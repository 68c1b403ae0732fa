// Puts together what the runtime is asked for: a sandbox's and a container's configuration, from the pure parts that know one
// aspect each (names, DNS, security, resources, environment, mounts). Holds no policy of its own.
import type { ContainerConfig, PodSandboxConfig } from '../api/cri/types.ts'
import type { ResourceList } from '../api/meta.ts'
import { namespaceOf } from '../api/pod.ts'
import type { Service } from '../api/service-types.ts'
import type { Source } from '../api/source.ts'
import type { ConfigMap, Container, Pod, Secret } from '../api/types.ts'
import { describe, Fault, isFault } from '../host/fault.ts'
import { toContainerConfig } from './container.ts'
import type { Live } from './downward.ts'
import { envReferences, makeEnv } from './env.ts'
import { sandboxHostname } from './hosts.ts'
import { podDns } from './resolv.ts'
import { containerResources, type ResourceContext, sandboxResources } from './resources.ts'
import { toSandboxConfig } from './sandbox.ts'
import { containerSecurity, type SecurityOptions, sandboxSecurity, sandboxSysctls, verifyRunAsNonRoot } from './security.ts'
import { latest, type Seen } from './seen.ts'
import type { Lookup } from './sources/references.ts'
import type { Image } from './step-context.ts'
import type { Volumes } from './volumes/volumes.ts'

export interface PartsDeps {
  readonly podLogsDir: string
  readonly clusterDomain: string
  readonly clusterDNS: readonly string[]
  /** Content of the node's resolv.conf. */
  readonly nodeResolv: () => string | undefined
  readonly nodeIPs: () => readonly string[]
  readonly allocatable: () => ResourceList
  readonly resources: ResourceContext
  readonly security: SecurityOptions
  readonly configMaps: Lookup<ConfigMap>
  readonly secrets: Lookup<Secret>
  /** With `problem` it is a copy that may not be there yet, as a reflector's. */
  readonly services: Pick<Source<Service>, 'list' | 'isSynced'> & { problem?(): Fault | undefined }
  readonly volumes: Pick<Volumes, 'mounts' | 'envFiles' | 'groups'>
  readonly warn: (pod: Pod, reason: string, message: string) => void
}

export interface Parts {
  sandboxConfig(pod: Pod, attempt: number, cgroupParent: string): PodSandboxConfig
  /** @throws Fault that names what is missing or refused, with the reason for the container's status */
  containerConfig(pod: Pod, container: Container, restartCount: number, image: Image, seen: Seen): Promise<ContainerConfig>
}

/** Waits until every object that the container's variables come from was looked up. */
const lookedUp = async ({ configMaps, secrets }: PartsDeps, pod: Pod, container: Container): Promise<void> => {
  const named = envReferences(container)
  const namespace = namespaceOf(pod)
  try {
    for (const name of named.configMaps) await configMaps.known?.(namespace, name)
    for (const name of named.secrets) await secrets.known?.(namespace, name)
  } catch (error) {
    throw new Fault('container-config', describe(error), { cause: error, reason: 'CreateContainerConfigError' })
  }
}

/**
 * No container starts without the variables of Services only because their list is still on its way, as with the kubelet. It does start
 * where there is none to be had: with the apiserver away, or when this node may not read them.
 */
const checkServices = ({ services }: PartsDeps): void => {
  if (services.isSynced || services.problem === undefined || isFault(services.problem(), 'api-away', 'api-forbidden')) return
  const message = 'services have not yet been read at least once, cannot construct envvars'
  throw new Fault('container-config', message, { reason: 'CreateContainerConfigError', retryAfterMs: 500 })
}

export const createParts = (deps: PartsDeps): Parts => {
  const live = (pod: Pod, seen: Seen): Live => ({
    hostIPs: deps.nodeIPs(),
    podIPs: pod.spec.hostNetwork ? deps.nodeIPs() : (seen.sandboxes[0]?.ips ?? []),
  })
  const security = (pod: Pod): SecurityOptions => ({ ...deps.security, extraGroups: deps.volumes.groups(pod) })
  return {
    sandboxConfig: (pod, attempt, cgroupParent) => {
      const { clusterDNS, clusterDomain } = deps
      const { config, warnings } = podDns({
        pod,
        nodeResolv: deps.nodeResolv(),
        clusterDNS,
        clusterDomain,
        nodeIPs: deps.nodeIPs(),
      })
      for (const { reason, message } of warnings) deps.warn(pod, reason, message)
      return toSandboxConfig(pod, {
        attempt,
        hostname: sandboxHostname(pod, clusterDomain),
        dnsConfig: config,
        podLogsDir: deps.podLogsDir,
        linux: {
          cgroupParent,
          securityContext: sandboxSecurity(pod, security(pod)),
          sysctls: sandboxSysctls(pod),
          ...sandboxResources(pod, deps.resources),
        },
      })
    },
    containerConfig: async (pod, container, restartCount, image, seen) => {
      const user = { ...(image.uid !== undefined && { uid: image.uid }), username: image.username }
      verifyRunAsNonRoot(pod, container, user)
      const { configMaps, secrets, allocatable } = deps
      const now = live(pod, seen)
      checkServices(deps)
      await lookedUp(deps, pod, container)
      const env = makeEnv({
        pod,
        container,
        configMaps,
        secrets,
        services: deps.services.list(),
        allocatable: allocatable(),
        files: await deps.volumes.envFiles(pod, container),
        warn: message => deps.warn(pod, 'InvalidEnvironmentVariableNames', message),
        ...now,
      })
      const targetId = container.targetContainerName === undefined ? undefined : latest(seen, container.targetContainerName)?.id
      return toContainerConfig(pod, container, {
        restartCount,
        imageRef: image.imageRef,
        env,
        ...(await deps.volumes.mounts(pod, container, env, now)),
        linux: {
          resources: containerResources(pod, container, deps.resources),
          securityContext: containerSecurity(pod, container, user, security(pod), targetId),
        },
      })
    },
  }
}
