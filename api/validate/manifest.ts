// A document of a manifest file to an object of the API: shape, defaults, rules. The one entry into this folder for manifests.
// Pure. Every problem of a document is found in one go; a document with a problem gives no object.
import { type GenericSchema, safeParse } from 'valibot'
import { defaultConfigMap, defaultPod, defaultSecret, defaultService } from '../defaults.ts'
import type { KubeObject } from '../meta.ts'
import type { Service } from '../service-types.ts'
import type { ConfigMap, Pod, Secret } from '../types.ts'
import { checkConfigMap, checkSecret } from './config-data.ts'
import { nearest } from './nearest.ts'
import { checkPod } from './pod.ts'
import { podSchema } from './pod-schema.ts'
import { type Problem, type Report, toProblems } from './problem.ts'
import { checkService } from './service.ts'
import { configMapSchema, secretSchema, serviceSchema } from './service-schema.ts'

export type Manifest =
  | { readonly kind: 'Pod'; readonly object: Pod }
  | { readonly kind: 'Service'; readonly object: Service }
  | { readonly kind: 'ConfigMap'; readonly object: ConfigMap }
  | { readonly kind: 'Secret'; readonly object: Secret }
export type ManifestKind = Manifest['kind']

export type ReadResult = { readonly manifest: Manifest; readonly problems?: never } | { readonly problems: readonly Problem[] }

type Outcome<T> = { readonly object: T } | { readonly problems: readonly Problem[] }

const reading =
  <T extends KubeObject>(
    schema: GenericSchema<unknown, T>,
    complete: (object: T) => T,
    rules: (report: Report, object: T) => void,
  ) =>
  (value: unknown): Outcome<T> => {
    const parsed = safeParse(schema, value)
    if (!parsed.success) return { problems: toProblems(parsed.issues) }
    const object = complete(parsed.output)
    const problems: Problem[] = []
    rules((path, found, message) => void problems.push({ path, value: found, message }), object)
    return problems.length > 0 ? { problems } : { object }
  }

const readers = {
  Pod: reading(podSchema, defaultPod, checkPod),
  Service: reading(serviceSchema, defaultService, checkService),
  ConfigMap: reading(configMapSchema, defaultConfigMap, checkConfigMap),
  Secret: reading(secretSchema, defaultSecret, checkSecret),
} satisfies { [K in ManifestKind]: (value: unknown) => Outcome<Extract<Manifest, { kind: K }>['object']> }

export const manifestKinds = Object.keys(readers) as readonly ManifestKind[]
const isKind = (kind: unknown): kind is ManifestKind => typeof kind === 'string' && Object.hasOwn(readers, kind)

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

// As the apiserver's decoder: null is the same as not given, but in a mapping of texts it is the empty text.
const textMaps = new Set(['labels', 'annotations', 'data', 'stringData', 'binaryData', 'nodeSelector', 'selector'])

/** The document without its nulls; what a JSON decoder of typed objects would make of them. */
export const withoutNulls = (value: unknown, field = ''): unknown => {
  if (Array.isArray(value)) return value.map(item => withoutNulls(item))
  if (!isMapping(value)) return value
  const entries = Object.entries(value).flatMap(([key, inner]): [string, unknown][] => {
    if (inner !== null) return [[key, withoutNulls(inner, key)]]
    return textMaps.has(field) ? [[key, '']] : []
  })
  return Object.fromEntries(entries)
}

/** Kind, namespace and name of a document, as far as they can be read though the rest may be broken. */
export const identityOf = (
  value: unknown,
): { readonly kind: ManifestKind; readonly namespace: string; readonly name: string } | undefined => {
  if (!isMapping(value) || !isMapping(value['metadata']) || !isKind(value['kind'])) return undefined
  const { name, namespace } = value['metadata']
  if (typeof name !== 'string' || name === '') return undefined
  return { kind: value['kind'], namespace: typeof namespace === 'string' && namespace !== '' ? namespace : 'default', name }
}

const kindProblems = (value: Record<string, unknown>): readonly Problem[] => {
  const { apiVersion, kind } = value
  if (kind === undefined) return [{ path: 'kind', value: undefined, message: `required: one of ${manifestKinds.join(', ')}` }]
  if (!isKind(kind)) {
    const near = nearest(String(kind), manifestKinds)
    const hint = near === undefined ? `a folder holds ${manifestKinds.join(', ')}` : `did you mean "${near}"?`
    return [{ path: 'kind', value: kind, message: `not a kind that this node takes from a folder; ${hint}` }]
  }
  if (apiVersion !== 'v1')
    return [{ path: 'apiVersion', value: apiVersion, message: apiVersion === undefined ? 'required: v1' : 'want v1' }]
  return []
}

/**
 * Reads one document of a manifest.
 * @param value what the YAML or JSON parser gave
 * @returns the object with its defaults, or all that is wrong with it
 */
export const readManifest = (value: unknown): ReadResult => {
  const document = withoutNulls(value)
  if (!isMapping(document))
    return { problems: [{ path: '', value, message: 'want a mapping with apiVersion, kind and metadata' }] }
  const wrongKind = kindProblems(document)
  const kind = document['kind']
  if (wrongKind.length > 0 || !isKind(kind)) return { problems: wrongKind }
  const outcome = readers[kind](document)
  return 'object' in outcome
    ? { manifest: { kind, object: outcome.object } as Manifest }
    : { problems: kind === 'Secret' ? outcome.problems.map(hideData) : outcome.problems }
}

// A Secret's value that has the wrong type would otherwise be printed by the shape's own message.
const hideData = (problem: Problem): Problem =>
  /^(data|stringData)\b/.test(problem.path) ? { ...problem, value: undefined } : problem
