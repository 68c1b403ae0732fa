// The image half of the runtime in memory (cri.fake.ts): a store by name, and a registry that has every image
// unless the test says otherwise.
import { Fault } from '../../host/fault.ts'
import type { Cri } from './cri.ts'
import type { Image, ImageSpec } from './types.ts'

type ImageMethods = Pick<Cri, 'listImages' | 'imageStatus' | 'pullImage' | 'removeImage' | 'imageFsInfo'>

export interface FakeImages {
  /** Present images by the name that they were pulled by. */
  readonly present: Map<string, Image>
  /** Names that cannot be pulled, and how that fails. */
  readonly broken: Map<string, Fault>
  /** Puts an image there without a pull. */
  add(name: string, image?: Partial<Image>): void
  /** @throws Fault `not-found` unless the image is present, by name or by id */
  need(spec: ImageSpec): Image
  readonly methods: ImageMethods
}

const digestOf = (name: string) => `sha256:${name}`

/** An image store that holds `names`. */
export const createFakeImages = (names: readonly string[]): FakeImages => {
  const present = new Map<string, Image>()
  const broken = new Map<string, Fault>()
  const add = (name: string, image: Partial<Image> = {}) => {
    const repo = name.replace(/[:@][^/]*$/, '')
    present.set(name, {
      ...{ id: digestOf(name), repoTags: name.includes('@') ? [] : [name], repoDigests: [`${repo}@${digestOf(name)}`] },
      ...{ size: 1_000_000, uid: null, username: '', spec: { image: name }, pinned: false },
      ...image,
    })
  }
  for (const name of names) add(name)
  const find = ({ image = '' }: ImageSpec): Image | undefined =>
    present.get(image) ?? [...present.values()].find(it => it.id === image || it.repoDigests.includes(image))
  return {
    present,
    broken,
    add,
    need: spec => {
      const found = find(spec)
      if (found === undefined) throw new Fault('not-found', `image "${spec.image}" not found`, { retry: 'never' })
      return found
    },
    methods: {
      listImages: async spec => [...present.values()].filter(it => spec?.image === undefined || find(spec) === it),
      imageStatus: async spec => ({ image: find(spec) ?? null, info: {} }),
      pullImage: async ({ image = '' }) => {
        const fault = broken.get(image)
        if (fault !== undefined) throw fault
        if (!present.has(image)) add(image)
        return digestOf(image)
      },
      removeImage: async spec => {
        const found = find(spec)
        for (const [name, image] of present) if (image === found) present.delete(name)
      },
      imageFsInfo: async () => ({ imageFilesystems: [], containerFilesystems: [] }),
    },
  }
}
