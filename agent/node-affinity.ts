// Whether a node has what a pod asks of it by nodeSelector and required node affinity. Pure.
// Follows k8s.io: Assigning Pods to Nodes. Preferred affinity is the scheduler's matter.
import type { NodeSelectorRequirement, NodeSelectorTerm } from '../api/storage.ts'
import type { Pod } from '../api/types.ts'

interface NodeAffinity {
  readonly nodeAffinity?: {
    readonly requiredDuringSchedulingIgnoredDuringExecution?: { readonly nodeSelectorTerms?: readonly NodeSelectorTerm[] }
  }
}

const isInteger = (text: string | undefined): text is string => text !== undefined && /^[+-]?\d+$/.test(text)

const meets = ({ key, operator, values = [] }: NodeSelectorRequirement, labels: Readonly<Record<string, string>>): boolean => {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
    case 'Gt':
    case 'Lt': {
      const [bound] = values
      if (!isInteger(value) || !isInteger(bound)) return false
      return operator === 'Gt' ? BigInt(value) > BigInt(bound) : BigInt(value) < BigInt(bound)
    }
    default:
      return false
  }
}

/** Terms are alternatives, what is in one belongs together; an empty term matches nothing. */
const matchesTerm = (term: NodeSelectorTerm, name: string, labels: Readonly<Record<string, string>>): boolean => {
  const { matchExpressions = [], matchFields = [] } = term
  if (matchExpressions.length + matchFields.length === 0) return false
  return (
    matchExpressions.every(it => meets(it, labels)) &&
    matchFields.every(it => it.key === 'metadata.name' && meets(it, { 'metadata.name': name }))
  )
}

/** True when one of the terms fits the node. */
export const matchesTerms = (
  terms: readonly NodeSelectorTerm[],
  name: string,
  labels: Readonly<Record<string, string>>,
): boolean => terms.some(term => matchesTerm(term, name, labels))

/** True when the node's labels (and name) are what the pod requires. */
export const matchesNode = (pod: Pod, name: string, labels: Readonly<Record<string, string>>): boolean => {
  const selected = Object.entries(pod.spec.nodeSelector ?? {}).every(
    ([key, value]) => Object.hasOwn(labels, key) && labels[key] === value,
  )
  if (!selected) return false
  const terms = (pod.spec.affinity as NodeAffinity | undefined)?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
    ?.nodeSelectorTerms
  return terms === undefined || matchesTerms(terms, name, labels)
}
