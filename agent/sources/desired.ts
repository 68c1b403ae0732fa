// What the files of a folder ask for, all together: the objects, and what is wrong with which document. Pure.
// A broken document harms nothing else: the object that it stood for keeps its last good version; while a file has a document
// that cannot even be told by name, nothing that the file gave before is taken away.

import { identityOf, type Manifest, readManifest, withoutNulls } from '../../api/validate/manifest.ts'
import { describeProblem, type Problem } from '../../api/validate/problem.ts'
import { byText } from '../../host/order.ts'
import { contentHash, manifestKey, onThisNode, staticPodName } from './identity.ts'
import { type FileDocument, parseManifests } from './parse.ts'

/** What is wrong, where. */
export interface ManifestProblem extends Problem {
  readonly file: string
  /** Counted from 1; 0 when it is the file that cannot be used. */
  readonly document: number
  readonly line: number
  /** `Pod default/web`, as far as it could be read. */
  readonly object?: string
  /** An earlier version of the object is kept as it was. */
  readonly kept: boolean
}

export interface DesiredObject {
  readonly key: string
  /** Changes when and only when the document says something else. */
  readonly hash: string
  readonly manifest: Manifest
  readonly file: string
  readonly document: number
  readonly line: number
}

/** One file's share, with what is kept of its earlier versions. */
export interface FileShare {
  readonly file: string
  readonly objects: readonly DesiredObject[]
  readonly kept: readonly DesiredObject[]
  readonly problems: readonly ManifestProblem[]
}

export interface Desired {
  readonly objects: readonly DesiredObject[]
  readonly problems: readonly ManifestProblem[]
}

/** `web.yaml: document 2, line 14: Pod default/web: spec.containers[0].imagee: unknown field; did you mean "image"?` */
export const describeManifestProblem = (problem: ManifestProblem): string => {
  const place = problem.document === 0 ? [] : [`document ${problem.document}, line ${problem.line}`]
  const parts = [problem.file, ...place, ...(problem.object === undefined ? [] : [problem.object]), describeProblem(problem)]
  return `${parts.join(': ')}${problem.kept ? ' (what was there before keeps running)' : ''}`
}

export interface Node {
  readonly name: string
  /** Now, RFC 3339: when objects that were not there before were first seen. */
  readonly now: string
}

interface Reading {
  readonly objects: DesiredObject[]
  readonly problems: ManifestProblem[]
  /** Keys of documents that are broken but can be told by name. */
  readonly brokenKeys: Set<string>
  /** Some document cannot be told by name. */
  unidentified: boolean
}

const keyFor = (kind: string, namespace: string, name: string, node: Node): string =>
  manifestKey(kind, namespace, kind === 'Pod' ? staticPodName(name, node.name) : name)

const readDocument = (file: string, document: FileDocument, node: Node, reading: Reading): void => {
  const { number, line } = document
  const identity = identityOf(document.value)
  const object = identity && `${identity.kind} ${identity.namespace}/${identity.name}`
  const outcome = readManifest(document.value)
  const problems: Problem[] = [...(outcome.problems ?? [])]
  if (outcome.problems === undefined) {
    const hash = contentHash(withoutNulls(document.value))
    const manifest = onThisNode(outcome.manifest, hash, node.name, node.now)
    const { namespace = '', name } = manifest.object.metadata
    if (name.length <= 253) {
      reading.objects.push({ key: manifestKey(manifest.kind, namespace, name), hash, manifest, file, document: number, line })
      return
    }
    problems.push({
      path: 'metadata.name',
      value: name,
      message: 'want at most 253 characters together with the name of this node',
    })
  }
  if (identity === undefined) reading.unidentified = true
  else reading.brokenKeys.add(keyFor(identity.kind, identity.namespace, identity.name, node))
  for (const problem of problems) {
    const at = { file, document: number, line: document.lineOf(problem.path), ...(object && { object }) }
    reading.problems.push({ ...problem, ...at, kept: false })
  }
}

/**
 * One file's share of what is desired.
 * @param before the share of the file's earlier version, of which broken documents keep theirs
 */
export const readFileShare = (file: string, text: string, node: Node, before: FileShare | undefined): FileShare => {
  const { documents, broken } = parseManifests(text)
  const reading: Reading = { objects: [], problems: [], brokenKeys: new Set(), unidentified: broken.length > 0 }
  for (const { number, line, message } of broken) {
    reading.problems.push({ file, document: number, line, path: '', value: undefined, message, kept: false })
  }
  for (const document of documents) readDocument(file, document, node, reading)
  const named = new Set(reading.objects.map(({ key }) => key))
  const kept = [...(before?.objects ?? []), ...(before?.kept ?? [])].filter(
    ({ key }) => !named.has(key) && (reading.unidentified || reading.brokenKeys.has(key)),
  )
  const problems = reading.problems.map(problem => ({ ...problem, kept: kept.length > 0 }))
  return { file, objects: reading.objects, kept, problems }
}

/** The share of a file that could not be read: what it gave before, and why. */
export const unreadableShare = (file: string, message: string, before: FileShare | undefined): FileShare => {
  const kept = [...(before?.objects ?? []), ...(before?.kept ?? [])]
  return {
    file,
    objects: [],
    kept,
    problems: [{ file, document: 0, line: 0, path: '', value: undefined, message, kept: kept.length > 0 }],
  }
}

/** All files together: of two documents with one kind, namespace and name the first wins, by file name and then by place. */
export const combine = (shares: readonly FileShare[]): Desired => {
  const inOrder = [...shares].sort((a, b) => byText(a.file, b.file))
  const problems = inOrder.flatMap(share => share.problems)
  const objects = new Map<string, DesiredObject>()
  for (const object of inOrder.flatMap(share => share.objects)) {
    const first = objects.get(object.key)
    if (first === undefined) {
      objects.set(object.key, object)
      continue
    }
    const { file, document, line, manifest } = object
    const { namespace, name } = manifest.object.metadata
    const message = `already defined in ${first.file}, line ${first.line}: want another name, or only one of them`
    problems.push({
      file,
      document,
      line,
      object: `${manifest.kind} ${namespace}/${name}`,
      path: 'metadata.name',
      value: undefined,
      message,
      kept: false,
    })
  }
  for (const object of inOrder.flatMap(share => share.kept)) if (!objects.has(object.key)) objects.set(object.key, object)
  return { objects: [...objects.values()], problems }
}
