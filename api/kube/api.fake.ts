// An apiserver in memory, for tests: objects by resource, resourceVersions, uids, conflicts, preconditions, finalizers and pods' graceful end.
// It records every call and can be told to fail or to answer one. It validates, defaults and authorizes nothing.
import { randomUUID } from 'node:crypto'
import { describe, Fault } from '../../host/fault.ts'
import type { KubeObject } from '../meta.ts'
import type { DeleteOptions, KubeApi, ObjectRef, Resource } from './api.ts'
import { applyPatch } from './patch.fake.ts'

export type Verb = 'get' | 'list' | 'create' | 'update' | 'patch' | 'delete'

export interface FakeCall {
  readonly verb: Verb
  /** The plural: `pods`. */
  readonly resource: string
  readonly namespace: string
  /** Empty for a list and a create with generateName. */
  readonly name: string
  readonly subresource: string
  /** What was sent: an object, a patch, DeleteOptions, or a list's query. */
  readonly body?: unknown
}

/** Called before a call is carried out: what it returns is the answer, what it throws the failure, undefined lets the call go on. */
export type Reaction = (call: FakeCall) => object | undefined | Promise<object | undefined>

export interface FakeApi extends KubeApi {
  readonly calls: readonly FakeCall[]
  /** Puts an object there as somebody else would, new or changed, and returns it as stored. */
  put<T extends KubeObject>(resource: Resource, object: T): T
  /** Takes an object away at once, as somebody else would. */
  remove(resource: Resource, namespace: string, name: string): void
  /** The object as it stands, without a recorded call. */
  peek<T extends KubeObject>(resource: Resource, namespace: string, name: string): T | undefined
  all<T extends KubeObject>(resource: Resource): readonly T[]
  /** Calls that match go through `react` first, the newest reaction before older ones. Returns how to stop. */
  react(match: Partial<FakeCall>, react: Reaction): () => void
  /** The next call that matches fails. */
  failNext(match: Partial<FakeCall>, fault: Fault): void
  /** Every change of an object of this resource, as a watch would tell it. */
  follow<T extends KubeObject>(resource: Resource, changed: (before: T | undefined, after: T | undefined) => void): () => void
  clearCalls(): void
}

type Mutable = { -readonly [K in keyof KubeObject['metadata']]: KubeObject['metadata'][K] }
type Change = (before: KubeObject | undefined, after: KubeObject | undefined) => void

const resourceKey = ({ group, plural }: Resource) => `${group}/${plural}`
const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
const nameOf = ({ resource, name }: { resource: Resource; name: string }) => `${resource.plural} "${name}"`

const field = (object: unknown, path: string): string => {
  const value = path.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], object)
  return value === undefined ? '' : String(value)
}

const labelMatches = (labels: Readonly<Record<string, string>>, term: string): boolean => {
  const [, key = '', operator, value] = /^([^=!]+?)\s*(?:(!=|==?)\s*(.*))?$/.exec(term) ?? []
  if (term.startsWith('!')) return !(term.slice(1) in labels)
  if (operator === undefined) return key in labels
  return operator === '!=' ? labels[key] !== value : labels[key] === value
}

const selects = (object: KubeObject, query: Readonly<Record<string, string>>): boolean => {
  const terms = (text: string | undefined) => (text ?? '').split(',').filter(it => it !== '')
  const byField = terms(query['fieldSelector']).every(term => {
    const [, path = '', operator, value = ''] = /^([^=!]+)(!=|==?)(.*)$/.exec(term) ?? []
    return (field(object, path) === value) === (operator !== '!=')
  })
  return byField && terms(query['labelSelector']).every(term => labelMatches(object.metadata.labels ?? {}, term.trim()))
}

// A write to a subresource changes its part only, one to the object all but the status.
const withinSubresource = (before: KubeObject, after: KubeObject, subresource: string | undefined): KubeObject => {
  const old = before as KubeObject & { status?: unknown }
  const { status, ...rest } = after as KubeObject & { status?: unknown }
  if (subresource === 'status') return { ...old, metadata: rest.metadata, ...(status !== undefined && { status }) } as KubeObject
  return { ...rest, ...(old.status !== undefined && { status: old.status }) } as KubeObject
}

/** What `api` answers `now` with for creationTimestamp and deletionTimestamp is the time that `now` tells. */
export const createFakeApi = ({ now = () => 1_700_000_000_000 }: { now?: () => number } = {}): FakeApi => {
  const shelves = new Map<string, Map<string, KubeObject>>()
  const followers = new Map<string, Set<Change>>()
  const reactions: { readonly match: Partial<FakeCall>; readonly react: Reaction }[] = []
  const calls: FakeCall[] = []
  let version = 0
  let generated = 0

  const timestamp = () => new Date(now()).toISOString().replace(/\.\d+Z$/, 'Z')
  const shelf = (resource: Resource) => shelves.getOrInsertComputed(resourceKey(resource), () => new Map())
  const keyIn = ({ resource, namespace, name }: ObjectRef) => `${resource.namespaced ? (namespace ?? '') : ''}/${name}`
  const tell = (resource: Resource, before: KubeObject | undefined, after: KubeObject | undefined) => {
    for (const changed of [...(followers.get(resourceKey(resource)) ?? [])]) changed(before, after)
  }
  const peek = (ref: ObjectRef) => shelf(ref.resource).get(keyIn(ref))
  const find = (ref: ObjectRef): KubeObject => {
    const object = peek(ref)
    if (object === undefined)
      throw new Fault('not-found', `${nameOf(ref)} not found`, { reason: 'NotFound', object: nameOf(ref), retry: 'never' })
    return object
  }
  const store = (ref: ObjectRef, object: KubeObject): KubeObject => {
    const before = peek(ref)
    const metadata: Mutable = { uid: before?.metadata.uid ?? randomUUID(), creationTimestamp: timestamp(), ...object.metadata }
    metadata.resourceVersion = before?.metadata.resourceVersion ?? ''
    if (before !== undefined && same(before, { ...object, metadata })) return before
    metadata.resourceVersion = String(++version)
    const stored = Object.freeze({ ...structuredClone(object), metadata })
    shelf(ref.resource).set(keyIn(ref), stored)
    tell(ref.resource, before, stored)
    return stored
  }
  const drop = (ref: ObjectRef) => {
    const before = peek(ref)
    if (!shelf(ref.resource).delete(keyIn(ref))) return
    version += 1
    tell(ref.resource, before, undefined)
  }
  const conflict = (ref: ObjectRef, why: string) => {
    const detail = { reason: 'Conflict', object: nameOf(ref), retry: 'now' } as const
    return new Fault('api-conflict', `Operation cannot be fulfilled on ${nameOf(ref)}: ${why}`, detail)
  }
  const answer = async <T>(call: FakeCall, signal: AbortSignal | undefined, carryOut: () => unknown): Promise<T> => {
    calls.push(call)
    await Promise.resolve()
    if (signal?.aborted) throw new Fault('api-away', `given up: ${describe(signal.reason)}`)
    for (const { match, react } of [...reactions].reverse()) {
      if (!Object.entries(match).every(([key, value]) => call[key as keyof FakeCall] === value)) continue
      const reacted = await react(call)
      if (reacted !== undefined) return reacted as T
    }
    return structuredClone(carryOut()) as T
  }
  const callOf = (verb: Verb, ref: Partial<ObjectRef> & { readonly resource: Resource }, body?: unknown): FakeCall => {
    const { resource, namespace = '', name = '', subresource = '' } = ref
    return { verb, resource: resource.plural, namespace, name, subresource, ...(body !== undefined && { body }) }
  }
  const write = (ref: ObjectRef, next: KubeObject): KubeObject => {
    const before = find(ref)
    const { uid, resourceVersion } = next.metadata
    if (uid !== undefined && uid !== before.metadata.uid)
      throw conflict(ref, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${before.metadata.uid}`)
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion)
      throw conflict(ref, 'the object has been modified; please apply your changes to the latest version and try again')
    const stored = store(ref, withinSubresource(before, next, ref.subresource))
    if (stored.metadata.deletionTimestamp === undefined || (stored.metadata.finalizers?.length ?? 0) > 0) return stored
    // The last finalizer was taken off.
    if ((before.metadata.finalizers?.length ?? 0) > 0) drop(ref)
    return stored
  }
  const remove = (ref: ObjectRef, how: DeleteOptions) => {
    const { metadata, ...rest } = find(ref)
    const { uid, resourceVersion } = how.preconditions ?? {}
    if (uid !== undefined && uid !== metadata.uid)
      throw conflict(ref, `the UID in the precondition (${uid}) does not match the UID in record (${metadata.uid})`)
    if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion)
      throw conflict(
        ref,
        `the ResourceVersion in the precondition (${resourceVersion}) does not match ${metadata.resourceVersion}`,
      )
    const { nodeName, terminationGracePeriodSeconds = 30 } = (rest as { spec?: Record<string, unknown> }).spec ?? {}
    const ownGrace = ref.resource.plural === 'pods' && nodeName ? (terminationGracePeriodSeconds as number) : 0
    const grace = ref.resource.plural === 'pods' ? (how.gracePeriodSeconds ?? ownGrace) : 0
    if (grace === 0 && (metadata.finalizers?.length ?? 0) === 0) return drop(ref)
    const deletion = { deletionTimestamp: metadata.deletionTimestamp ?? timestamp(), deletionGracePeriodSeconds: grace }
    store(ref, { ...rest, metadata: { ...metadata, ...deletion } })
  }
  const create = (target: Omit<ObjectRef, 'name'> & { readonly name?: string }, body: object): KubeObject => {
    const { metadata, ...rest } = body as KubeObject
    const name =
      metadata?.name ?? target.name ?? `${metadata?.generateName ?? 'answer-'}${(++generated).toString().padStart(5, 'x')}`
    const namespace = target.resource.namespaced ? (target.namespace ?? metadata?.namespace ?? 'default') : undefined
    const ref = { ...target, name, ...(namespace !== undefined && { namespace }) }
    if (target.subresource !== undefined) {
      find(ref)
      return body as KubeObject
    }
    const detail = { reason: 'AlreadyExists', object: nameOf(ref), retry: 'never' } as const
    if (peek(ref) !== undefined) throw new Fault('already-exists', `${nameOf(ref)} already exists`, detail)
    return store(ref, { ...rest, metadata: { ...metadata, name, ...(namespace !== undefined && { namespace }) } })
  }
  const refOf = (resource: Resource, object: KubeObject): ObjectRef => {
    const { name, namespace } = object.metadata
    return { resource, name, ...(namespace !== undefined && { namespace }) }
  }
  const react = (match: Partial<FakeCall>, reaction: Reaction) => {
    const entry = { match, react: reaction }
    reactions.push(entry)
    return () => void (reactions.includes(entry) && reactions.splice(reactions.indexOf(entry), 1))
  }

  return {
    calls,
    get: (ref, { signal } = {}) => answer(callOf('get', ref), signal, () => find(ref)),
    list: (resource, query, { signal, namespace } = {}) =>
      answer(callOf('list', { resource, ...(namespace !== undefined && { namespace }) }, query), signal, () => ({
        items: [...shelf(resource).values()].filter(
          it => (namespace === undefined || it.metadata.namespace === namespace) && selects(it, query),
        ),
        resourceVersion: String(version),
      })),
    create: (target, body, { signal } = {}) => {
      const name = target.name ?? (body as Partial<KubeObject>).metadata?.name ?? ''
      return answer(callOf('create', { ...target, name }, body), signal, () => create(target, body))
    },
    update: (ref, body, { signal } = {}) => answer(callOf('update', ref, body), signal, () => write(ref, body)),
    patch: (ref, patch, type, { signal } = {}) =>
      answer(callOf('patch', ref, patch), signal, () => {
        const before = find(ref)
        const patched = applyPatch(before, patch, type) as unknown as KubeObject
        return write(ref, patched)
      }),
    delete: (ref, how = {}, { signal } = {}) => answer(callOf('delete', ref, how), signal, () => remove(ref, how)),
    put: <T extends KubeObject>(resource: Resource, object: T) => store(refOf(resource, object), object) as T,
    remove: (resource, namespace, name) => drop({ resource, namespace, name }),
    peek: <T extends KubeObject>(resource: Resource, namespace: string, name: string) =>
      peek({ resource, namespace, name }) as T | undefined,
    all: <T extends KubeObject>(resource: Resource) => [...shelf(resource).values()] as unknown as readonly T[],
    react,
    failNext: (match, fault) => {
      const stop = react(match, () => {
        stop()
        throw fault
      })
    },
    follow: <T extends KubeObject>(resource: Resource, changed: (before: T | undefined, after: T | undefined) => void) => {
      const set = followers.getOrInsertComputed(resourceKey(resource), () => new Set())
      set.add(changed as Change)
      return () => void set.delete(changed as Change)
    },
    clearCalls: () => void calls.splice(0),
  }
}
