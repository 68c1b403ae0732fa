// The messages of the container runtime interface (CRI v1), as they are after proto-loader has read them: field names
// in camelCase, int64 as number (times are nanoseconds since the epoch), enums by the names of the protocol.
// What we send is optional, what we read is always there: an absent message is null, an absent scalar its zero value.
// Only the Linux side: fields for Windows are not here and not in runtime.proto. Usage figures are in stats.ts.
// Follows k8s.io/cri-api v0.36, runtime/v1/api.proto.

export type StringMap = Readonly<Record<string, string>>
export type Protocol = 'TCP' | 'UDP' | 'SCTP'
export type MountPropagation = 'PROPAGATION_PRIVATE' | 'PROPAGATION_HOST_TO_CONTAINER' | 'PROPAGATION_BIDIRECTIONAL'
export type NamespaceMode = 'POD' | 'CONTAINER' | 'NODE' | 'TARGET'
export type SupplementalGroupsPolicy = 'Merge' | 'Strict'
export type ProfileType = 'RuntimeDefault' | 'Unconfined' | 'Localhost'
export type PodSandboxState = 'SANDBOX_READY' | 'SANDBOX_NOTREADY'
export type ContainerState = 'CONTAINER_CREATED' | 'CONTAINER_RUNNING' | 'CONTAINER_EXITED' | 'CONTAINER_UNKNOWN'
export type CgroupDriver = 'SYSTEMD' | 'CGROUPFS'
/** SIGTERM, SIGRTMINPLUS3, …; RUNTIME_DEFAULT leaves it to the image. */
export type Signal = 'RUNTIME_DEFAULT' | `SIG${string}`

export interface Int64Value {
  readonly value: number
}

// Parts of what is sent; statuses show some of them again.

export interface DnsConfig {
  readonly servers?: readonly string[]
  readonly searches?: readonly string[]
  readonly options?: readonly string[]
}

export interface PortMapping {
  readonly protocol?: Protocol
  readonly containerPort?: number
  readonly hostPort?: number
  readonly hostIp?: string
}

export interface IdMapping {
  readonly hostId: number
  readonly containerId: number
  readonly length: number
}

export interface ImageSpec {
  readonly image?: string
  readonly annotations?: StringMap
  readonly userSpecifiedImage?: string
  readonly runtimeHandler?: string
  readonly imageRef?: string
}

export interface Mount {
  readonly containerPath?: string
  readonly hostPath?: string
  readonly readonly?: boolean
  readonly selinuxRelabel?: boolean
  readonly propagation?: MountPropagation
  readonly uidMappings?: readonly IdMapping[]
  readonly gidMappings?: readonly IdMapping[]
  readonly recursiveReadOnly?: boolean
  readonly image?: ImageSpec | null
  readonly imageSubPath?: string
}

export interface UserNamespace {
  readonly mode?: NamespaceMode
  readonly uids?: readonly IdMapping[]
  readonly gids?: readonly IdMapping[]
}

export interface NamespaceOption {
  readonly network?: NamespaceMode
  readonly pid?: NamespaceMode
  readonly ipc?: NamespaceMode
  readonly targetId?: string
  readonly usernsOptions?: UserNamespace | null
}

export interface SelinuxOption {
  readonly user?: string
  readonly role?: string
  readonly type?: string
  readonly level?: string
}

export interface SecurityProfile {
  readonly profileType?: ProfileType
  readonly localhostRef?: string
}

export interface HugepageLimit {
  readonly pageSize: string
  readonly limit: number
}

export interface LinuxContainerResources {
  /** Microseconds, as are cpuQuota's. */
  readonly cpuPeriod?: number
  readonly cpuQuota?: number
  readonly cpuShares?: number
  readonly memoryLimitInBytes?: number
  readonly oomScoreAdj?: number
  readonly cpusetCpus?: string
  readonly cpusetMems?: string
  readonly hugepageLimits?: readonly HugepageLimit[]
  readonly unified?: StringMap
  readonly memorySwapLimitInBytes?: number
}

export interface LinuxSandboxSecurityContext {
  readonly namespaceOptions?: NamespaceOption
  readonly selinuxOptions?: SelinuxOption
  readonly runAsUser?: Int64Value
  readonly runAsGroup?: Int64Value
  readonly readonlyRootfs?: boolean
  readonly supplementalGroups?: readonly number[]
  readonly supplementalGroupsPolicy?: SupplementalGroupsPolicy
  readonly privileged?: boolean
  readonly seccomp?: SecurityProfile
  readonly apparmor?: SecurityProfile
  /** Deprecated in favour of `seccomp`; what older runtimes read. */
  readonly seccompProfilePath?: string
}

export interface PodSandboxMetadata {
  readonly name: string
  readonly uid: string
  readonly namespace: string
  readonly attempt: number
}

export interface LinuxPodSandboxConfig {
  readonly cgroupParent?: string
  readonly securityContext?: LinuxSandboxSecurityContext
  readonly sysctls?: StringMap
  readonly overhead?: LinuxContainerResources
  readonly resources?: LinuxContainerResources
}

export interface PodSandboxConfig {
  readonly metadata: PodSandboxMetadata
  readonly hostname?: string
  readonly logDirectory?: string
  readonly dnsConfig?: DnsConfig
  readonly portMappings?: readonly PortMapping[]
  readonly labels?: StringMap
  readonly annotations?: StringMap
  readonly linux?: LinuxPodSandboxConfig
}

export interface ContainerMetadata {
  readonly name: string
  readonly attempt: number
}

export interface KeyValue {
  readonly key: string
  readonly value: Uint8Array
}

export interface Device {
  readonly containerPath: string
  readonly hostPath: string
  readonly permissions: string
}

export interface Capability {
  readonly addCapabilities?: readonly string[]
  readonly dropCapabilities?: readonly string[]
  readonly addAmbientCapabilities?: readonly string[]
}

export interface LinuxContainerSecurityContext {
  readonly capabilities?: Capability
  readonly privileged?: boolean
  readonly namespaceOptions?: NamespaceOption
  readonly selinuxOptions?: SelinuxOption
  readonly runAsUser?: Int64Value
  readonly runAsGroup?: Int64Value
  readonly runAsUsername?: string
  readonly readonlyRootfs?: boolean
  readonly supplementalGroups?: readonly number[]
  readonly supplementalGroupsPolicy?: SupplementalGroupsPolicy
  readonly noNewPrivs?: boolean
  readonly maskedPaths?: readonly string[]
  readonly readonlyPaths?: readonly string[]
  readonly seccomp?: SecurityProfile
  readonly apparmor?: SecurityProfile
  /** Deprecated in favour of `apparmor` and `seccomp`; what older runtimes read. */
  readonly apparmorProfile?: string
  readonly seccompProfilePath?: string
}

export interface LinuxContainerConfig {
  readonly resources?: LinuxContainerResources
  readonly securityContext?: LinuxContainerSecurityContext
}

export interface ContainerConfig {
  readonly metadata: ContainerMetadata
  readonly image: ImageSpec
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly workingDir?: string
  readonly envs?: readonly KeyValue[]
  readonly mounts?: readonly Mount[]
  readonly devices?: readonly Device[]
  readonly CDIDevices?: readonly { readonly name: string }[]
  readonly labels?: StringMap
  readonly annotations?: StringMap
  /** Relative to the sandbox's logDirectory. */
  readonly logPath?: string
  readonly stdin?: boolean
  readonly stdinOnce?: boolean
  readonly tty?: boolean
  readonly linux?: LinuxContainerConfig
  readonly stopSignal?: Signal
}

export interface AuthConfig {
  readonly username?: string
  readonly password?: string
  readonly auth?: string
  readonly serverAddress?: string
  readonly identityToken?: string
  readonly registryToken?: string
}

// Filters; an empty one selects everything.

export interface PodSandboxFilter {
  readonly id?: string
  readonly state?: { readonly state: PodSandboxState }
  readonly labelSelector?: StringMap
}

export interface ContainerFilter {
  readonly id?: string
  readonly state?: { readonly state: ContainerState }
  readonly podSandboxId?: string
  readonly labelSelector?: StringMap
}

// What the runtime answers.

export interface VersionResponse {
  readonly version: string
  readonly runtimeName: string
  readonly runtimeVersion: string
  readonly runtimeApiVersion: string
}

export interface PodSandbox {
  readonly id: string
  readonly metadata: PodSandboxMetadata
  readonly state: PodSandboxState
  readonly createdAt: number
  readonly labels: StringMap
  readonly annotations: StringMap
  readonly runtimeHandler: string
}

export interface PodSandboxStatus extends PodSandbox {
  readonly network: { readonly ip: string; readonly additionalIps: readonly { readonly ip: string }[] } | null
  readonly linux: { readonly namespaces: { readonly options: NamespaceOption | null } | null } | null
}

export interface PodSandboxStatusResponse {
  readonly status: PodSandboxStatus
  /** Only when asked for verbosely; containerd puts JSON under `info`. */
  readonly info: StringMap
  readonly containersStatuses: readonly ContainerStatus[]
  readonly timestamp: number
}

export interface Container {
  readonly id: string
  readonly podSandboxId: string
  readonly metadata: ContainerMetadata
  readonly image: ImageSpec | null
  readonly imageRef: string
  readonly state: ContainerState
  readonly createdAt: number
  readonly labels: StringMap
  readonly annotations: StringMap
  readonly imageId: string
}

export interface ContainerStatus {
  readonly id: string
  readonly metadata: ContainerMetadata
  readonly state: ContainerState
  readonly createdAt: number
  readonly startedAt: number
  readonly finishedAt: number
  readonly exitCode: number
  readonly image: ImageSpec | null
  readonly imageRef: string
  readonly reason: string
  readonly message: string
  readonly labels: StringMap
  readonly annotations: StringMap
  readonly mounts: readonly Mount[]
  readonly logPath: string
  readonly resources: { readonly linux: LinuxContainerResources | null } | null
  readonly imageId: string
  readonly user: { readonly linux: LinuxContainerUser | null } | null
  readonly stopSignal: Signal
}

export interface LinuxContainerUser {
  readonly uid: number
  readonly gid: number
  readonly supplementalGroups: readonly number[]
}

export interface ContainerStatusResponse {
  readonly status: ContainerStatus
  readonly info: StringMap
}

export interface ExecSyncResponse {
  readonly stdout: Buffer
  readonly stderr: Buffer
  readonly exitCode: number
}

export interface Image {
  readonly id: string
  readonly repoTags: readonly string[]
  readonly repoDigests: readonly string[]
  readonly size: number
  /** Null when the image names its user, or names none. */
  readonly uid: Int64Value | null
  readonly username: string
  readonly spec: ImageSpec | null
  readonly pinned: boolean
}

export interface ImageStatusResponse {
  /** Null when the image is not present. */
  readonly image: Image | null
  readonly info: StringMap
}

export interface RuntimeCondition {
  readonly type: string
  readonly status: boolean
  readonly reason: string
  readonly message: string
}

export interface RuntimeHandler {
  readonly name: string
  readonly features: { readonly recursiveReadOnlyMounts: boolean; readonly userNamespaces: boolean } | null
}

export interface StatusResponse {
  readonly status: { readonly conditions: readonly RuntimeCondition[] } | null
  readonly info: StringMap
  readonly runtimeHandlers: readonly RuntimeHandler[]
  readonly features: { readonly supplementalGroupsPolicy: boolean; readonly userNamespacesHostNetwork: boolean } | null
}

export interface RuntimeConfigResponse {
  readonly linux: { readonly cgroupDriver: CgroupDriver } | null
}

export type ContainerEventType =
  | 'CONTAINER_CREATED_EVENT'
  | 'CONTAINER_STARTED_EVENT'
  | 'CONTAINER_STOPPED_EVENT'
  | 'CONTAINER_DELETED_EVENT'

export interface ContainerEventResponse {
  readonly containerId: string
  readonly containerEventType: ContainerEventType
  readonly createdAt: number
  readonly podSandboxStatus: PodSandboxStatus | null
  readonly containersStatuses: readonly ContainerStatus[]
}
