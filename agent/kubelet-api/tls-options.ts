// TLS of the kubelet API from a KubeletConfiguration: Go's names for cipher suites, versions and curves in OpenSSL's words. Pure.
// Nothing below TLS 1.2 is spoken, whatever tlsMinVersion says; suites of TLS 1.3 cannot be chosen, as in Go.
import type { SecureVersion } from 'node:tls'
import { Fault } from '../../host/fault.ts'

const tls13 = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'] as const

const tls12: Readonly<Record<string, string>> = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 'ECDHE-RSA-AES128-GCM-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 'ECDHE-RSA-AES256-GCM-SHA384',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: 'ECDHE-ECDSA-AES128-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: 'ECDHE-ECDSA-AES128-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: 'ECDHE-ECDSA-AES256-SHA',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: 'ECDHE-RSA-AES128-SHA',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256: 'ECDHE-RSA-AES128-SHA256',
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: 'ECDHE-RSA-AES256-SHA',
  TLS_RSA_WITH_AES_128_GCM_SHA256: 'AES128-GCM-SHA256',
  TLS_RSA_WITH_AES_256_GCM_SHA384: 'AES256-GCM-SHA384',
  TLS_RSA_WITH_AES_128_CBC_SHA: 'AES128-SHA',
  TLS_RSA_WITH_AES_128_CBC_SHA256: 'AES128-SHA256',
  TLS_RSA_WITH_AES_256_CBC_SHA: 'AES256-SHA',
}

/** Names that Go still knows and the TLS library here has no code for any more. */
const gone = /^TLS_\w+_WITH_(RC4_128|3DES_EDE_CBC)_SHA$/

/** When nothing is chosen: forward secrecy and authenticated encryption only. */
const defaults = Object.entries(tls12)
  .filter(([name]) => /^TLS_ECDHE_.*(GCM|POLY1305_SHA256)/.test(name))
  .map(([, suite]) => suite)

/** Go's CurveID numbers. */
const curves: Readonly<Record<number, string>> = {
  23: 'P-256',
  24: 'P-384',
  25: 'P-521',
  29: 'X25519',
  4587: 'SecP256r1MLKEM768',
  4588: 'X25519MLKEM768',
  4589: 'SecP384r1MLKEM1024',
}

export interface TlsConfig {
  readonly tlsCipherSuites: readonly string[]
  readonly tlsMinVersion: string
  readonly tlsCurvePreferences: readonly number[]
}

export interface TlsOptions {
  readonly ciphers: string
  readonly minVersion: SecureVersion
  /** Absent: the library's own choice. */
  readonly ecdhCurve?: string
}

const toCipher = (name: string): string | undefined => {
  if (tls13.some(it => it === name)) return undefined
  const known = Object.hasOwn(tls12, name) ? tls12[name] : undefined
  if (known !== undefined) return known
  const why = gone.test(name) ? 'is not offered by the TLS library of this program' : "is no cipher suite of Go's"
  throw new Fault('bad-config', `tlsCipherSuites: ${name} ${why}`, { retry: 'never' })
}

const toCurve = (id: number): string => {
  const name = curves[id]
  if (name === undefined) throw new Fault('bad-config', `tlsCurvePreferences: ${id} is no curve of Go's`, { retry: 'never' })
  return name
}

/** @throws Fault `bad-config` that names the suite or curve that cannot be used */
export const toTlsOptions = ({ tlsCipherSuites, tlsMinVersion, tlsCurvePreferences }: TlsConfig): TlsOptions => {
  const chosen = tlsCipherSuites.flatMap(name => toCipher(name) ?? [])
  return {
    ciphers: [...tls13, ...(tlsCipherSuites.length > 0 ? chosen : defaults)].join(':'),
    minVersion: tlsMinVersion === 'VersionTLS13' ? 'TLSv1.3' : 'TLSv1.2',
    ...(tlsCurvePreferences.length > 0 && { ecdhCurve: tlsCurvePreferences.map(toCurve).join(':') }),
  }
}
