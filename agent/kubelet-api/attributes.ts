// What a request asks of the node, in the words of Kubernetes authorization: a verb and the subresources that allow it. Pure.
// Follows the kubelet's server/auth.go of 1.36 (fine-grained kubelet API authorization): the narrow subresource is asked first,
// `proxy`, which allows everything, only where there is no other or as the way of older roles.

/** Any one of the subresources is enough; asked in this order. */
export interface Attributes {
  /** Empty for a method that has no verb, such as HEAD: only a rule for `*` allows it. */
  readonly verb: string
  readonly subresources: readonly string[]
}

const verbs: Readonly<Record<string, string>> = {
  POST: 'create',
  GET: 'get',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
}

/** Paths and what is below them, with the subresources of nodes that allow them. */
const rules: readonly (readonly [path: string, subresources: readonly string[]])[] = [
  ['/pods', ['pods', 'proxy']],
  ['/runningpods', ['pods', 'proxy']],
  ['/healthz', ['healthz', 'proxy']],
  ['/configz', ['configz', 'proxy']],
  ['/stats', ['stats']],
  ['/metrics', ['metrics']],
  ['/logs', ['log']],
  ['/checkpoint', ['checkpoint']],
  ['/statusz', ['statusz']],
  ['/flagz', ['configz']],
]

/**
 * What has to be allowed for this request.
 * @param path decoded and without a query, as it is routed
 */
export const attributesOf = (method: string, path: string): Attributes => {
  const rule = rules.find(([below]) => path === below || path.startsWith(`${below}/`))
  return { verb: verbs[method] ?? '', subresources: rule?.[1] ?? ['proxy'] }
}

/** The kubelet's words to somebody who may not. */
export const forbiddenText = (user: string, { verb, subresources }: Attributes): string =>
  `Forbidden (user=${user}, verb=${verb}, resource=nodes, subresource(s)=[${subresources.join(' ')}])\n`
