// The client of an apiserver: KubeApi's verbs, lists in pages, and watches, over one connection that follows its kubeconfig.
// Puts URLs and bodies together and takes answers apart. Keeps no objects; what a failure means is caller.ts's.
// Follows the API reference's paths and the API concepts page (chunked lists, watches, streamed lists).
import type { Clock } from '../../host/clock.ts'
import { type Exec, systemExec } from '../../host/exec.ts'
import { Fault, isFault } from '../../host/fault.ts'
import type { Log } from '../../host/log.ts'
import type { KubeObject } from '../meta.ts'
import type { CallOptions, DeleteOptions, KubeApi, ObjectRef, PatchType, Resource } from './api.ts'
import { type Call, type Caller, createCaller } from './caller.ts'
import { createConnection } from './connection.ts'
import { createPresence, type Presence } from './presence.ts'
import { dropManagedFields, readWatch, type WatchHooks } from './watch.ts'

export type Query = Readonly<Record<string, string>>

export interface WatchOptions {
  readonly namespace?: string
  readonly signal?: AbortSignal
}

export interface KubeClient extends KubeApi, Pick<Presence, 'problem' | 'onBack'> {
  /**
   * Reads a watch until it ends; `query` says all but `watch=true`.
   * @throws as KubeApi, `api-away` with reason `TornLine` for a line that is no event
   */
  watch<T extends KubeObject>(resource: Resource, query: Query, options: WatchOptions, hooks: WatchHooks<T>): Promise<void>
  /** A list page by page, so that a long one is never held as text. Resolves with its resourceVersion. */
  pages<T extends KubeObject>(
    resource: Resource,
    query: Query,
    options: CallOptions & { readonly namespace?: string },
    onPage: (items: readonly T[], isRestart: boolean) => void,
  ): Promise<string>
  /** Whether the server streams lists: believed until one of many reflectors is refused, and again after it was away. */
  readonly lists: { areStreamed: boolean }
  /** Ends what is under way and closes the connections. */
  close(): void
}

export interface KubeClientDeps {
  /** Path of the kubeconfig file. */
  readonly kubeconfig: string
  /** Asked in place of the kubeconfig's server: kube-proxy's `--master`. */
  readonly server?: string
  readonly clock: Clock
  readonly log: Log
  /** Runs credential plugins. */
  readonly exec?: Pick<Exec, 'run'>
}

const pageSize = '500'

const contentTypes = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
} satisfies Record<PatchType, string>

const pathOf = (
  { resource, namespace, name, subresource }: Omit<ObjectRef, 'name'> & { readonly name?: string },
  query?: Query,
): string => {
  const { group, version, plural } = resource
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`
  const parts = [
    ...(resource.namespaced && namespace !== undefined ? ['namespaces', namespace] : []),
    plural,
    ...(name === undefined ? [] : [name]),
    ...(subresource === undefined ? [] : [subresource]),
  ]
  const asked = query === undefined ? '' : new URLSearchParams(query).toString()
  return `${root}/${parts.map(encodeURIComponent).join('/')}${asked === '' ? '' : `?${asked}`}`
}

interface Page<T> {
  readonly kind?: string
  readonly apiVersion?: string
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string }
  readonly items: readonly T[] | null
}

/** Of a call's answer the object: one that is torn says so. */
const askFor = async <T>(caller: Caller, call: Call, options: CallOptions = {}): Promise<T> => {
  const text = await caller.text(call, options)
  try {
    return JSON.parse(text) as T
  } catch (error) {
    const what = `${call.method} ${call.path}: the answer is torn: it is no JSON`
    throw new Fault('api-away', `${what} and ends with ${JSON.stringify(text.slice(-40))}`, { cause: error })
  }
}

const toItem = <T extends KubeObject>({ kind, apiVersion }: Page<T>, item: T): T => {
  // The items of a list leave out what the list says for them all.
  const typed = item as { kind?: string; apiVersion?: string }
  if (kind !== undefined) typed.kind ??= kind.replace(/List$/, '')
  if (apiVersion !== undefined) typed.apiVersion ??= apiVersion
  return dropManagedFields(item)
}

const listPages =
  (caller: Caller): KubeClient['pages'] =>
  async <T extends KubeObject>(
    resource: Resource,
    query: Query,
    { namespace, ...options }: CallOptions & { readonly namespace?: string },
    onPage: (items: readonly T[], isRestart: boolean) => void,
  ) => {
    const where = { resource, ...(namespace !== undefined && { namespace }) }
    const ask = (more: Query) => askFor<Page<T>>(caller, { method: 'GET', path: pathOf(where, { ...query, ...more }) }, options)
    const take = (page: Page<T>, isRestart: boolean) =>
      onPage(
        (page.items ?? []).map(item => toItem(page, item)),
        isRestart,
      )
    let page = await ask({ limit: pageSize, ...query })
    for (take(page, false); page.metadata.continue; take(page, false)) {
      // The continue token says the version; a resourceVersion beside it is refused.
      const { resourceVersion: _, resourceVersionMatch: __, ...rest } = query
      const path = pathOf(where, { limit: pageSize, ...rest, continue: page.metadata.continue })
      const next = await askFor<Page<T>>(caller, { method: 'GET', path }, options).catch((error: unknown) => {
        if (isFault(error, 'api-expired')) return undefined
        throw error
      })
      if (next === undefined) {
        // Compacted between two pages: whole, in one piece, as client-go's pager does.
        page = await ask({ limit: '0' })
        take(page, true)
        break
      }
      page = next
    }
    return page.metadata.resourceVersion ?? ''
  }

/**
 * A client for the apiserver that the kubeconfig names; reads and connects at the first call, so that a wrong file fails that one.
 * Credentials are followed: a changed file is used from the next call on, and watches end so that they are opened anew.
 */
export const createKubeClient = ({ kubeconfig, server, clock, log, exec = systemExec }: KubeClientDeps): KubeClient => {
  const connection = createConnection({ kubeconfig, ...(server !== undefined && { server }), clock, log, exec })
  const presence = createPresence({ clock, log })
  const caller = createCaller({ connection, presence, clock })
  const closing = new AbortController()
  const write = <T>(
    method: Call['method'],
    path: string,
    body: object,
    options?: CallOptions,
    contentType?: string,
  ): Promise<T> =>
    askFor<T>(caller, { method, path, body: JSON.stringify(body), ...(contentType !== undefined && { contentType }) }, options)
  const pages = listPages(caller)
  const lists = { areStreamed: true }
  presence.onBack(() => {
    lists.areStreamed = true
  })
  return {
    lists,
    problem: presence.problem,
    onBack: presence.onBack,
    pages,
    get: async <T extends KubeObject>(ref: ObjectRef, options?: CallOptions) =>
      dropManagedFields(await askFor<T>(caller, { method: 'GET', path: pathOf(ref) }, options)),
    list: async <T extends KubeObject>(
      resource: Resource,
      query: Query,
      options: CallOptions & { readonly namespace?: string } = {},
    ) => {
      const items: T[] = []
      const resourceVersion = await pages<T>(resource, query, options, (page, isRestart) => {
        if (isRestart) items.length = 0
        for (const item of page) items.push(item)
      })
      return { items, resourceVersion }
    },
    create: (target, body, options) => {
      // A create goes to the collection, a subresource belongs to an object.
      const { name, ...collection } = target
      return write('POST', pathOf(target.subresource === undefined ? collection : target), body, options)
    },
    update: (ref, body, options) => write('PUT', pathOf(ref), body, options),
    patch: (ref, patch, type, options) => write('PATCH', pathOf(ref), patch, options, contentTypes[type]),
    delete: async (ref: ObjectRef, how: DeleteOptions = {}, options?: CallOptions) => {
      await write('DELETE', pathOf(ref), { kind: 'DeleteOptions', apiVersion: 'v1', ...how }, options)
    },
    watch: (resource, query, { namespace, signal }, hooks) => {
      const path = pathOf({ resource, ...(namespace !== undefined && { namespace }) }, { ...query, watch: 'true' })
      const ends = signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal])
      // A watch waits in the reflector: what is to be asked later is not waited for here.
      return readWatch({ clock, signal: ends }, inner => caller.open({ method: 'GET', path }, inner, clock.monotonic()), hooks)
    },
    close: () => {
      closing.abort()
      connection.close()
    },
  }
}
