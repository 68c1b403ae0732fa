// Rules for the metadata of every kind: names, namespaces, labels, annotations. Pure.
// Follows k8s.io: Object Names and IDs; Labels and Selectors; Annotations.
import type { KubeObject } from '../meta.ts'
import { check, dnsLabel, type Form, labelValue, qualifiedName } from './names.ts'
import { join, type Report } from './problem.ts'

const annotationBytes = 256 * 1024

/** Reports keys and values that are no labels; `path` is that of the mapping. */
export const checkLabels = (report: Report, path: string, labels: Readonly<Record<string, string>> | undefined): void => {
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!qualifiedName.ok(key)) report(join(path, key), value, `the key ${JSON.stringify(key)}: ${qualifiedName.want}`)
    if (!labelValue.ok(value)) report(join(path, key), value, labelValue.want)
  }
}

const checkAnnotations = (report: Report, annotations: Readonly<Record<string, string>>): void => {
  let bytes = 0
  for (const [key, value] of Object.entries(annotations)) {
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value)
    // annotation keys may have capitals in their domain
    if (!qualifiedName.ok(key.toLowerCase())) {
      report(join('metadata.annotations', key), undefined, `the key ${JSON.stringify(key)}: ${qualifiedName.want}`)
    }
  }
  if (bytes > annotationBytes)
    report('metadata.annotations', undefined, `${bytes} bytes together: want at most ${annotationBytes}`)
}

/** Reports what is wrong with an object's metadata; names of most kinds are DNS names, those of Services labels. */
export const checkMetadata = (report: Report, { metadata }: KubeObject, nameForm: Form): void => {
  check(report, 'metadata.name', metadata.name, nameForm, true)
  check(report, 'metadata.namespace', metadata.namespace, dnsLabel)
  checkLabels(report, 'metadata.labels', metadata.labels)
  checkAnnotations(report, metadata.annotations ?? {})
}
