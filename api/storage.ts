// Persistent storage as the API server shows it: claims, the volumes that they are bound to, and what a node reads of both.
// Only fields that some part of this program uses. Follows the API reference (core/v1).
import type { KubeObject } from './meta.ts'

export type AccessMode = 'ReadWriteOnce' | 'ReadOnlyMany' | 'ReadWriteMany' | 'ReadWriteOncePod'
export type VolumeMode = 'Filesystem' | 'Block'

export interface PersistentVolumeClaim extends KubeObject {
  readonly spec: { readonly volumeName?: string; readonly volumeMode?: VolumeMode; readonly accessModes?: readonly AccessMode[] }
  readonly status?: { readonly phase?: 'Pending' | 'Bound' | 'Lost' }
}

export interface NfsSource {
  readonly server: string
  readonly path: string
  readonly readOnly?: boolean
}

export interface NodeSelectorRequirement {
  readonly key: string
  readonly operator: string
  readonly values?: readonly string[]
}

export interface NodeSelectorTerm {
  readonly matchExpressions?: readonly NodeSelectorRequirement[]
  readonly matchFields?: readonly NodeSelectorRequirement[]
}

export interface PersistentVolumeSpec {
  readonly accessModes?: readonly AccessMode[]
  readonly volumeMode?: VolumeMode
  readonly mountOptions?: readonly string[]
  readonly claimRef?: { readonly namespace?: string; readonly name?: string; readonly uid?: string }
  readonly nodeAffinity?: { readonly required?: { readonly nodeSelectorTerms?: readonly NodeSelectorTerm[] } }
  readonly local?: { readonly path: string; readonly fsType?: string }
  readonly hostPath?: { readonly path: string; readonly type?: string }
  readonly nfs?: NfsSource
  readonly csi?: { readonly driver: string; readonly volumeHandle: string }
  /** Kinds that are known by name and answered with a clear refusal. */
  readonly [other: string]: unknown
}

export interface PersistentVolume extends KubeObject {
  readonly spec: PersistentVolumeSpec
}
