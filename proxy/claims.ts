// Who owns an address and port when two Services claim it: the older one, by name when they are equally old; the other one waits.
// Owns the desired frontends of all Services; turns the new frontends of one Service into changes of what the kernel should hold.
// No I/O. Follows the API server's rule that a node port belongs to one Service, which external IPs do not have.
import { type Frontend, frontendKey, sameFrontend } from './model.ts'

/** What one address and port meant before and means now. */
export interface FrontendChange {
  readonly key: string
  readonly before: Frontend | undefined
  readonly after: Frontend | undefined
}

export interface Conflict {
  readonly key: string
  readonly owner: string
  readonly waiting: string
}

export interface Claims {
  /** Replaces the frontends of a Service; [] when it is gone. Conflicts are told once, when they begin. */
  set(service: string, frontends: readonly Frontend[]): { changes: readonly FrontendChange[]; conflicts: readonly Conflict[] }
  /** What the kernel should hold, all of it. */
  effective(): IteratorObject<Frontend>
  /** Namespace/name of every Service that has a frontend. */
  services(): IteratorObject<string>
  readonly size: number
}

const precedes = (a: Frontend, b: Frontend): boolean =>
  a.created === b.created ? a.service < b.service : a.created !== '' && (b.created === '' || a.created < b.created)

/** An empty book of claims. */
export const createClaims = (): Claims => {
  const claimed = new Map<string, readonly string[]>()
  const owners = new Map<string, Frontend>()
  const waiting = new Map<string, readonly Frontend[]>()

  const release = (key: string, service: string): void => {
    const queue = waiting.get(key) ?? []
    const rest = queue.filter(frontend => frontend.service !== service)
    if (owners.get(key)?.service === service) {
      const [next, ...others] = rest
      if (next === undefined) owners.delete(key)
      else owners.set(key, next)
      remember(key, others)
    } else remember(key, rest)
  }
  const remember = (key: string, queue: readonly Frontend[]) => {
    if (queue.length === 0) waiting.delete(key)
    else waiting.set(key, queue)
  }
  const claim = (key: string, frontend: Frontend): void => {
    const owner = owners.get(key)
    if (owner === undefined) return void owners.set(key, frontend)
    const queue = [...(waiting.get(key) ?? []), frontend, owner].sort((a, b) => (precedes(a, b) ? -1 : 1))
    owners.set(key, queue[0]!)
    remember(key, queue.slice(1))
  }

  const set: Claims['set'] = (service, frontends) => {
    const wanted = new Map<string, Frontend>()
    for (const frontend of frontends) {
      const key = frontendKey(frontend)
      if (!wanted.has(key)) wanted.set(key, frontend)
    }
    const had = new Set(claimed.get(service))
    const changes: FrontendChange[] = []
    const conflicts: Conflict[] = []
    for (const key of new Set([...had, ...wanted.keys()])) {
      const before = owners.get(key)
      const frontend = wanted.get(key)
      if (had.has(key)) release(key, service)
      if (frontend !== undefined) claim(key, frontend)
      const after = owners.get(key)
      if (frontend !== undefined && !had.has(key))
        for (const loser of waiting.get(key) ?? []) conflicts.push({ key, owner: after!.service, waiting: loser.service })
      if (before === after || (before !== undefined && after !== undefined && sameFrontend(before, after))) continue
      changes.push({ key, before, after })
    }
    if (wanted.size === 0) claimed.delete(service)
    else claimed.set(service, [...wanted.keys()])
    return { changes, conflicts }
  }
  return {
    set,
    effective: () => owners.values(),
    services: () => claimed.keys(),
    get size() {
      return owners.size
    },
  }
}
