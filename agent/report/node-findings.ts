// What is found out about this node each time its status is looked at: the runtime's health, its images, the disk, the addresses.
// Asks for what is cheap each time and for what is not every half minute. Decides nothing; node-object.ts does.
// Follows the kubelet's updateRuntimeUp and its image cache (30 s), and nodeStatusMaxImages.
import type { Cri } from '../../api/cri/cri.ts'
import type { Image } from '../../api/cri/types.ts'
import type { Clock, Millis } from '../../host/clock.ts'
import { fileSystemSize, type Machine } from '../../host/machine.ts'
import type { NodeHealth, NodeImage, NodeObject, NodeSettings } from '../node.ts'
import { readRuntimeFacts } from '../runtime-facts.ts'
import type { NodeFindings } from './node-object.ts'

export interface FindingsDeps {
  readonly name: string
  readonly machine: Machine
  readonly rootDir: string
  readonly settings: NodeSettings
  readonly labels: Readonly<Record<string, string>>
  readonly version: string
  /** Of the kubelet API. */
  readonly port: number
  /** nodeStatusMaxImages; -1 for all. */
  readonly maxImages: number
  readonly runtime: Pick<Cri, 'version' | 'status' | 'listImages'>
  readonly clock: Clock
  readonly addresses: () => readonly string[]
  readonly volumesInUse: () => readonly string[]
  readonly pressure: () => Omit<NodeHealth, 'troubles'>
  /** What keeps the node from running pods beside the runtime: no podCIDR, a shutdown under way. */
  readonly troubles: (node: NodeObject | undefined) => readonly string[]
}

const imagesForMs = 30_000
const namesPerImage = 5

/** The largest images, each by at most five of its names, digests first. */
export const toNodeImages = (images: readonly Image[], max: number): readonly NodeImage[] =>
  [...images]
    .sort((a, b) => b.size - a.size || (a.id < b.id ? -1 : 1))
    .slice(0, max < 0 ? images.length : max)
    .map(({ repoDigests, repoTags, size }) => ({
      names: [...repoDigests, ...repoTags].slice(0, namesPerImage),
      sizeBytes: size,
    }))

/** Looks at everything. @returns a function that never fails because of the runtime: a runtime that is away is a finding */
export const createFindings = (deps: FindingsDeps) => {
  const { name, machine, settings, labels, version, port, runtime, clock } = deps
  let images: { readonly at: Millis; readonly list: readonly NodeImage[] } | undefined

  const readImages = async (): Promise<readonly NodeImage[] | undefined> => {
    if (images !== undefined && clock.monotonic() - images.at < imagesForMs) return images.list
    try {
      const list = toNodeImages(await runtime.listImages(undefined, { timeoutMs: 2000 }), deps.maxImages)
      images = { at: clock.monotonic(), list }
    } catch {
      // The runtime's own health says that it is away; the images are those of before.
    }
    return images?.list
  }

  return async (node: NodeObject | undefined): Promise<NodeFindings> => {
    const [facts, list, rootFs] = await Promise.all([readRuntimeFacts(runtime), readImages(), fileSystemSize(deps.rootDir)])
    const known = node?.status?.nodeInfo?.containerRuntimeVersion ?? ''
    const kept = list ?? node?.status?.images
    return {
      ...{ name, machine, rootFs, settings, labels, version, port },
      runtime: facts.version || known || 'containerd://Unknown',
      addresses: deps.addresses(),
      volumesInUse: deps.volumesInUse(),
      health: { ...deps.pressure(), troubles: [...facts.troubles, ...deps.troubles(node)] },
      ...(kept && { images: kept }),
      ...(facts.handlers && { runtimeHandlers: facts.handlers }),
      ...(facts.features && { features: facts.features }),
    }
  }
}
