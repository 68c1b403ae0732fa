// CredentialProviderConfig, kubelet.config.k8s.io/v1: shape and rules. Pure. Durations in milliseconds.
// Follows the kubelet 1.36, which refuses to start with a configuration that it cannot use; so do we.
import { array, type InferOutput, minLength, pipe } from 'valibot'
import { duration, parseConfigFile } from '../../api/config/document.ts'
import { readLayers } from '../../api/config/read.ts'
import type { Report } from '../../api/validate/problem.ts'
import { flag, oneOf, optional, strict, text, texts } from '../../api/validate/shape.ts'

const group = 'credentialprovider.kubelet.k8s.io'

const provider = strict({
  name: text,
  matchImages: pipe(texts, minLength(1, 'want at least one pattern')),
  defaultCacheDuration: duration,
  apiVersion: oneOf([`${group}/v1`, `${group}/v1beta1`, `${group}/v1alpha1`]),
  args: optional(texts),
  env: optional(array(strict({ name: text, value: text }))),
  tokenAttributes: optional(
    strict({
      serviceAccountTokenAudience: text,
      cacheType: oneOf(['ServiceAccount', 'Token']),
      requireServiceAccount: flag,
      requiredServiceAccountAnnotationKeys: optional(texts),
      optionalServiceAccountAnnotationKeys: optional(texts),
    }),
  ),
})

const schema = strict({ providers: pipe(array(provider), minLength(1, 'want at least one provider')) })

export type CredentialProvider = InferOutput<typeof provider>
type Config = InferOutput<typeof schema>

const checkTokens = (report: Report, path: string, { tokenAttributes: it, apiVersion }: CredentialProvider): void => {
  if (it === undefined) return
  const { requiredServiceAccountAnnotationKeys: required = [], optionalServiceAccountAnnotationKeys: others = [] } = it
  if (apiVersion !== `${group}/v1`) report(path, it, `only providers of ${group}/v1 get tokens`)
  if (it.serviceAccountTokenAudience === '') report(`${path}.serviceAccountTokenAudience`, '', 'must not be empty')
  if (!it.requireServiceAccount && required.length > 0)
    report(`${path}.requiredServiceAccountAnnotationKeys`, required, 'must be empty unless requireServiceAccount is true')
  const twice = required.find(key => others.includes(key))
  if (twice !== undefined) report(path, twice, 'is both a required and an optional annotation')
}

const rules = (report: Report, { providers }: Config): void => {
  const names = new Set<string>()
  for (const [index, it] of providers.entries()) {
    const path = `providers[${index}]`
    if (!/^[^/ ]+$/.test(it.name) || it.name === '.' || it.name === '..')
      report(`${path}.name`, it.name, "want the name of a program, without '/' and spaces")
    if (names.has(it.name)) report(`${path}.name`, it.name, 'is there twice')
    names.add(it.name)
    if (it.defaultCacheDuration < 0) report(`${path}.defaultCacheDuration`, it.defaultCacheDuration, 'must not be negative')
    checkTokens(report, `${path}.tokenAttributes`, it)
  }
}

/**
 * The providers of a configuration file.
 * @throws Fault `bad-config` that names the file and everything that is wrong in it
 */
export const parseCredentialProviders = (file: string, content: string): readonly CredentialProvider[] => {
  const version = /kubelet\.config\.k8s\.io\/(v1(?:alpha1|beta1)?)\b/.exec(content)?.[1] ?? 'v1'
  const fields = parseConfigFile(file, content, `kubelet.config.k8s.io/${version}`, 'CredentialProviderConfig')
  const recipe = { schema, complete: (raw: Config) => raw, rules, name: file }
  return readLayers([{ fields, origin: file }], recipe).whole.providers
}
