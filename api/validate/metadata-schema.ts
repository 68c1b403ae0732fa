// The shape of what all manifests have in common. Checked against api/types.ts by the compiler.
import type * as v from 'valibot'
import { array } from 'valibot'
import type { ObjectMeta, OwnerReference } from '../meta.ts'
import { anyMapping, type Fields, flag, int64, optional, strict, text, textMap, texts } from './shape.ts'

const ownerReference = strict({
  apiVersion: text,
  kind: text,
  name: text,
  uid: text,
  controller: optional(flag),
  blockOwnerDeletion: optional(flag),
} satisfies Fields<OwnerReference>)

const fields = {
  name: text,
  namespace: optional(text),
  uid: optional(text),
  resourceVersion: optional(text),
  generation: optional(int64),
  creationTimestamp: optional(text),
  deletionTimestamp: optional(text),
  deletionGracePeriodSeconds: optional(int64),
  labels: optional(textMap),
  annotations: optional(textMap),
  ownerReferences: optional(array(ownerReference)),
  finalizers: optional(texts),
  generateName: optional(text),
} satisfies Fields<ObjectMeta>

// what `kubectl get -o yaml` prints besides; read and left alone
const printed = { managedFields: optional(array(anyMapping)), selfLink: optional(text) }

export const metadataSchema = strict({ ...fields, ...printed }) satisfies v.GenericSchema<unknown, ObjectMeta>
