// The three kinds of patches as an apiserver applies them; for api.fake.ts only.
// Follows RFC 7386 (merge), RFC 6902 (json: add, remove, replace, test) and the strategic merge patch of the API conventions,
// with the merge keys of core/v1. Lists without a merge key are replaced whole.
import { Fault } from '../../host/fault.ts'
import type { PatchType } from './api.ts'

type Json = Record<string, unknown>

/** The field that tells the entries of a list apart, by the list's name; `` for lists of plain values that are merged. */
const mergeKeys: Readonly<Record<string, string>> = {
  addresses: 'type',
  conditions: 'type',
  containers: 'name',
  env: 'name',
  ephemeralContainers: 'name',
  finalizers: '',
  hostAliases: 'ip',
  hostIPs: 'ip',
  imagePullSecrets: 'name',
  initContainers: 'name',
  ownerReferences: 'uid',
  podCIDRs: '',
  podIPs: 'ip',
  resourceClaimStatuses: 'name',
  resourceClaims: 'name',
  secrets: 'name',
  volumeMounts: 'mountPath',
  volumes: 'name',
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

const mergePatch = (target: unknown, patch: unknown): unknown => {
  if (!isObject(patch)) return patch
  const result: Json = isObject(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = mergePatch(result[key], value)
  }
  return result
}

const refuse = (message: string): never => {
  throw new Fault('api-refused', message, { reason: 'Invalid', retry: 'never' })
}

const mergeEntries = (before: readonly unknown[], patch: readonly unknown[], key: string): readonly unknown[] => {
  if (key === '') return [...before, ...patch.filter(it => !before.includes(it))]
  let result = before
  for (const entry of patch as readonly Json[]) {
    if (entry['$patch'] === 'replace') return patch.filter(it => !isObject(it) || it['$patch'] === undefined)
    const id = entry[key] ?? refuse(`map: ${JSON.stringify(entry)} does not contain declared merge key: ${key}`)
    const at = result.findIndex(it => isObject(it) && it[key] === id)
    if (entry['$patch'] === 'delete') result = result.filter((_, index) => index !== at)
    else if (at < 0) result = [...result, strategicPatch({}, entry)]
    else result = result.map((it, index) => (index === at ? strategicPatch(it, entry) : it))
  }
  return result
}

// The order that `$setElementOrder/x` asks for; entries that it does not name stay behind those that it does.
const inOrder = (entries: readonly unknown[], order: readonly unknown[], key: string): readonly unknown[] => {
  const id = (it: unknown) => (key === '' || !isObject(it) ? it : it[key])
  const place = new Map(order.map((it, index) => [id(it), index]))
  return [...entries].sort((a, b) => (place.get(id(a)) ?? order.length) - (place.get(id(b)) ?? order.length))
}

const strategicPatch = (target: unknown, patch: Json): Json => {
  if (patch['$patch'] === 'replace') {
    const { $patch: _, ...rest } = patch
    return rest
  }
  const result: Json = isObject(target) ? { ...target } : {}
  for (const [field, value] of Object.entries(patch)) {
    const [directive, name = ''] = field.split('/', 2)
    const list = (result[name] ?? []) as readonly unknown[]
    if (directive === '$deleteFromPrimitiveList') result[name] = list.filter(it => !(value as readonly unknown[]).includes(it))
    else if (field.startsWith('$')) continue
    else if (value === null) delete result[field]
    else if (Array.isArray(value)) {
      const key = mergeKeys[field]
      result[field] = key === undefined ? value : mergeEntries((result[field] ?? []) as readonly unknown[], value, key)
    } else result[field] = isObject(value) ? strategicPatch(result[field], value) : value
  }
  for (const [field, order] of Object.entries(patch)) {
    const name = field.startsWith('$setElementOrder/') ? field.slice('$setElementOrder/'.length) : undefined
    if (name !== undefined && Array.isArray(result[name]))
      result[name] = inOrder(result[name], order as readonly unknown[], mergeKeys[name] ?? '')
  }
  const keep = patch['$retainKeys'] as readonly string[] | undefined
  return keep === undefined ? result : Object.fromEntries(Object.entries(result).filter(([key]) => keep.includes(key)))
}

interface JsonOperation {
  readonly op: string
  readonly path: string
  readonly value?: unknown
}

const applyOperation = (document: Json, { op, path, value }: JsonOperation): void => {
  const keys = path
    .split('/')
    .slice(1)
    .map(key => key.replaceAll('~1', '/').replaceAll('~0', '~'))
  const last = keys.pop() ?? refuse(`the path ${path} is the whole document`)
  let place: unknown = document
  for (const key of keys) place = (place as Json | undefined)?.[key]
  if (typeof place !== 'object' || place === null) refuse(`the path ${path} does not exist`)
  const holder = place as Json
  const isThere = Array.isArray(holder) ? Number(last) < holder.length : last in holder
  if (op !== 'add' && !isThere) refuse(`the path ${path} does not exist`)
  if (op === 'test' && JSON.stringify(holder[last]) !== JSON.stringify(value)) refuse(`testing value ${path} failed`)
  if (op === 'test') return
  if (Array.isArray(holder) && op === 'add') holder.splice(last === '-' ? holder.length : Number(last), 0, value)
  else if (Array.isArray(holder) && op === 'remove') holder.splice(Number(last), 1)
  else if (op === 'remove') delete holder[last]
  else if (op === 'add' || op === 'replace') holder[last] = value
  else refuse(`unexpected kind of operation: ${op}`)
}

/**
 * The object as the patch makes it; neither argument is changed.
 * @throws Fault `api-refused` when the patch does not fit
 */
export const applyPatch = (object: object, patch: object, type: PatchType): Json => {
  const copy = structuredClone(object) as Json
  if (type === 'merge') return mergePatch(copy, structuredClone(patch)) as Json
  if (type === 'strategic') return strategicPatch(copy, structuredClone(patch) as Json)
  for (const operation of patch as readonly JsonOperation[]) applyOperation(copy, operation)
  return copy
}
