// Rules for ConfigMaps and Secrets. Pure. Values of Secrets are never repeated in a problem. Follows k8s.io: ConfigMap v1; Secret v1.
import type { ConfigMap, Secret } from '../types.ts'
import { checkMetadata } from './metadata.ts'
import { configKey, dnsSubdomain } from './names.ts'
import { join, type Report } from './problem.ts'

const mostBytes = 1024 * 1024
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

const checkKeys = (report: Report, path: string, data: Readonly<Record<string, string>> | undefined): void => {
  for (const key of Object.keys(data ?? {})) {
    if (!configKey.ok(key)) report(join(path, key), undefined, `the key ${JSON.stringify(key)}: ${configKey.want}`)
  }
}

const checkBase64 = (report: Report, path: string, data: Readonly<Record<string, string>> | undefined, instead: string): void => {
  for (const [key, value] of Object.entries(data ?? {})) {
    if (!base64.test(value.replaceAll(/[\r\n]/g, '')))
      report(join(path, key), undefined, `want base64; plain text belongs into ${instead}`)
  }
}

const sizeOf = (data: Readonly<Record<string, string>> | undefined, encoding: 'utf8' | 'base64'): number =>
  Object.values(data ?? {}).reduce((sum, value) => sum + Buffer.byteLength(value, encoding), 0)

const checkSize = (report: Report, path: string, bytes: number): void => {
  if (bytes > mostBytes) report(path, undefined, `${bytes} bytes together: want at most ${mostBytes}`)
}

/** Reports everything that is wrong with a ConfigMap. */
export const checkConfigMap = (report: Report, configMap: ConfigMap): void => {
  checkMetadata(report, configMap, dnsSubdomain)
  checkKeys(report, 'data', configMap.data)
  checkKeys(report, 'binaryData', configMap.binaryData)
  checkBase64(report, 'binaryData', configMap.binaryData, 'data')
  for (const key of Object.keys(configMap.data ?? {})) {
    if (configMap.binaryData !== undefined && key in configMap.binaryData)
      report(join('data', key), undefined, 'also in binaryData: want a key once')
  }
  checkSize(report, 'data', sizeOf(configMap.data, 'utf8') + sizeOf(configMap.binaryData, 'base64'))
}

const requiredKeys: Readonly<Record<string, readonly string[]>> = {
  'kubernetes.io/dockercfg': ['.dockercfg'],
  'kubernetes.io/dockerconfigjson': ['.dockerconfigjson'],
  'kubernetes.io/ssh-auth': ['ssh-privatekey'],
  'kubernetes.io/tls': ['tls.crt', 'tls.key'],
}

const checkType = (report: Report, { type = 'Opaque', data = {}, metadata }: Secret): void => {
  for (const key of requiredKeys[type] ?? []) {
    if (!(key in data)) report(join('data', key), undefined, `required in a Secret of type ${type}`)
    else if (key.startsWith('.docker')) {
      try {
        JSON.parse(Buffer.from(data[key]!, 'base64').toString('utf8'))
      } catch {
        report(join('data', key), undefined, 'want JSON')
      }
    }
  }
  if (type === 'kubernetes.io/basic-auth' && !('username' in data) && !('password' in data))
    report('data', undefined, 'want username or password')
  const account = 'kubernetes.io/service-account.name'
  if (type === 'kubernetes.io/service-account-token' && !metadata.annotations?.[account]) {
    report(join('metadata.annotations', account), undefined, `required in a Secret of type ${type}`)
  }
}

/** Reports everything that is wrong with a Secret whose `stringData` is merged. */
export const checkSecret = (report: Report, secret: Secret): void => {
  checkMetadata(report, secret, dnsSubdomain)
  checkKeys(report, 'data', secret.data)
  checkBase64(report, 'data', secret.data, 'stringData')
  checkSize(report, 'data', sizeOf(secret.data, 'base64'))
  checkType(report, secret)
}
