// A container's volumeMounts as the runtime wants them. Pure but for subPaths, which are mounted by what is passed in.
// Follows k8s.io: Volumes (mount propagation, recursive read-only mounts, subPath); kubelet's makeMounts.
import { isAbsolute } from 'node:path'
import type { Device, ImageSpec, KeyValue, Mount, MountPropagation } from '../../api/cri/types.ts'
import type { Container, VolumeMount } from '../../api/types.ts'
import { Fault } from '../../host/fault.ts'
import { expandSubPath } from '../expand.ts'
import type { VolumeAction } from './plan.ts'
import type { SubPathInput } from './subpath.ts'

export interface ContainerMountsInput {
  readonly container: Container
  readonly env: readonly KeyValue[]
  /** What was done for a volume of the pod, by its name. */
  readonly action: (volume: string) => VolumeAction | undefined
  /** Images that were pulled for image volumes, by the volume's name. */
  readonly images: ReadonlyMap<string, ImageSpec>
  readonly supportsRecursiveReadOnly: boolean
  readonly selinux: boolean
  readonly mountSubPath: (input: Omit<SubPathInput, 'target'> & { readonly index: number }) => Promise<string>
}

const wrong = (message: string): Fault => new Fault('container-config', message, { reason: 'CreateContainerConfigError' })

const propagations: Readonly<Record<NonNullable<VolumeMount['mountPropagation']>, MountPropagation>> = {
  None: 'PROPAGATION_PRIVATE',
  HostToContainer: 'PROPAGATION_HOST_TO_CONTAINER',
  Bidirectional: 'PROPAGATION_BIDIRECTIONAL',
}

const propagationOf = ({ mountPropagation = 'None' }: VolumeMount): MountPropagation => {
  if (Object.hasOwn(propagations, mountPropagation)) return propagations[mountPropagation]
  throw wrong(`invalid MountPropagation mode: "${mountPropagation}"`)
}

/** @throws Fault `container-config` when recursive read-only is asked for and cannot be had */
export const isRecursiveReadOnly = (mount: VolumeMount, isSupported: boolean): boolean => {
  const { name, recursiveReadOnly = 'Disabled', readOnly = false, mountPropagation = 'None' } = mount
  const refuse = (why: string) =>
    wrong(`failed to resolve recursive read-only mode: volume "${name}" requested recursive read-only mode, but it is ${why}`)
  if (recursiveReadOnly === 'Disabled') return false
  if (!readOnly) throw refuse('not read-only')
  if (mountPropagation !== 'None') throw refuse(`not compatible with propagation "${mountPropagation}"`)
  if (recursiveReadOnly === 'IfPossible') return isSupported
  if (!isSupported) throw refuse('not supported by the runtime')
  return true
}

const sourceOf = async (
  input: ContainerMountsInput,
  action: VolumeAction,
  mount: VolumeMount,
  index: number,
): Promise<Pick<Mount, 'hostPath' | 'image' | 'imageSubPath'>> => {
  const { container, env, images, mountSubPath } = input
  const subPath = mount.subPathExpr ? expandSubPath(mount.subPathExpr, env) : (mount.subPath ?? '')
  if (action.do === 'image') {
    const image = images.get(mount.name)
    if (image === undefined) throw wrong(`image "${action.reference}" of volume "${mount.name}" was not pulled`)
    return { image, ...(subPath !== '' && { imageSubPath: subPath }) }
  }
  if (action.do === 'device') throw wrong(`volume ${mount.name} is a block device, but is specified in volumeMounts`)
  const volumePath = action.do === 'host-path' ? action.path : action.dir
  if (subPath === '') return { hostPath: volumePath }
  return { hostPath: await mountSubPath({ volumePath, subPath, mountName: mount.name, container: container.name, index }) }
}

const isReadOnly = (action: VolumeAction): boolean =>
  action.do === 'files' || action.do === 'image' || ('readOnly' in action && action.readOnly === true)

const toMount = async (input: ContainerMountsInput, mount: VolumeMount, index: number): Promise<Mount> => {
  const action = input.action(mount.name)
  if (action === undefined) {
    throw wrong(`cannot find volume "${mount.name}" to mount into container "${input.container.name}"`)
  }
  return {
    containerPath: isAbsolute(mount.mountPath) ? mount.mountPath : `/${mount.mountPath}`,
    ...(await sourceOf(input, action, mount, index)),
    // what the agent writes, a container may only read
    readonly: mount.readOnly === true || isReadOnly(action),
    // the node's own files keep their labels, as do a server's
    selinuxRelabel: input.selinux && ['files', 'empty-dir', 'local'].includes(action.do),
    propagation: propagationOf(mount),
    recursiveReadOnly: isRecursiveReadOnly(mount, input.supportsRecursiveReadOnly),
  }
}

/**
 * The mounts of a container's volumes, in the order of its spec.
 * @throws Fault `container-config` with the kubelet's message
 */
export const containerMounts = async (input: ContainerMountsInput): Promise<Mount[]> => {
  const { volumeMounts = [] } = input.container
  const mounts: Mount[] = []
  for (const [index, mount] of volumeMounts.entries()) mounts.push(await toMount(input, mount, index))
  return mounts
}

/**
 * The block devices of a container, in the order of its spec.
 * @throws Fault `container-config` with the kubelet's message
 */
export const containerDevices = ({ container, action }: Pick<ContainerMountsInput, 'container' | 'action'>): readonly Device[] =>
  (container.volumeDevices ?? []).map(({ name, devicePath }) => {
    const found = action(name)
    if (found?.do !== 'device') throw wrong(`cannot find volume "${name}" to pass into container "${container.name}"`)
    return { containerPath: devicePath, hostPath: found.path, permissions: found.readOnly ? 'r' : 'mrw' }
  })
