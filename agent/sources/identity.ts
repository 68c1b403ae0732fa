// Who an object of a folder is: namespace, name on this node, uid. Pure.
// Follows the kubelet's static pods (k8s.io: Create static Pods): name suffixed by the node's, a uid that is a hash, so that a changed
// manifest is another pod and an unchanged one is the same after every restart.

import { createHash } from 'node:crypto'
import type { KubeObject, ObjectMeta } from '../../api/meta.ts'
import type { Pod } from '../../api/types.ts'
import type { Manifest } from '../../api/validate/manifest.ts'
import { byText } from '../../host/order.ts'

export const configHashAnnotation = 'kubernetes.io/config.hash'
export const configSourceAnnotation = 'kubernetes.io/config.source'
export const configSeenAnnotation = 'kubernetes.io/config.seen'

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([a], [b]) => byText(a, b))
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]))
}

/** A hash of what a document says, whatever the order of its fields, its comments and its layout. */
export const contentHash = (value: unknown): string =>
  createHash('md5')
    .update(JSON.stringify(sorted(value)) ?? '')
    .digest('hex')

/** The name that a pod of a folder has on this node. */
export const staticPodName = (name: string, nodeName: string): string => `${name}-${nodeName.toLowerCase()}`

/** kind/namespace/name: unique among all objects of a folder. */
export const manifestKey = (kind: string, namespace: string, name: string): string => `${kind}/${namespace}/${name}`

// What an apiserver wrote into a copied manifest belongs to another object's life.
const own = ({ name, labels, annotations, namespace }: ObjectMeta): ObjectMeta => ({
  name,
  namespace: namespace || 'default',
  ...(labels && { labels }),
  ...(annotations && { annotations }),
})

const identifyPod = (pod: Pod, hash: string, nodeName: string, seen: string): Pod => {
  const { name, annotations, ...metadata } = own(pod.metadata)
  const onNode = staticPodName(name, nodeName)
  const uid = contentHash([nodeName, metadata.namespace, onNode, hash])
  const marks = { [configHashAnnotation]: uid, [configSourceAnnotation]: 'file', [configSeenAnnotation]: seen }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, name: onNode, uid, annotations: { ...annotations, ...marks } },
    spec: { ...pod.spec, nodeName },
  }
}

const identify = <T extends KubeObject>(kind: string, object: T): T => {
  const metadata = own(object.metadata)
  return {
    ...object,
    apiVersion: 'v1',
    kind,
    metadata: { ...metadata, uid: contentHash([kind, metadata.namespace, metadata.name]) },
  }
}

/**
 * The object as it is on this node.
 * @param hash the content hash of its document; part of a pod's uid, so that a change makes another pod of it
 * @param seen when it was first seen, RFC 3339
 */
export const onThisNode = (manifest: Manifest, hash: string, nodeName: string, seen: string): Manifest => {
  switch (manifest.kind) {
    case 'Pod':
      return { kind: 'Pod', object: identifyPod(manifest.object, hash, nodeName, seen) }
    case 'Service': {
      const { status: _, ...service } = manifest.object
      return { kind: 'Service', object: identify('Service', service) }
    }
    case 'ConfigMap':
      return { kind: 'ConfigMap', object: identify('ConfigMap', manifest.object) }
    case 'Secret':
      return { kind: 'Secret', object: identify('Secret', manifest.object) }
  }
}
