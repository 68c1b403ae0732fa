// How a request is counted: the labels of kubelet_http_requests_total and its kin. Pure; few values each, whatever is asked.

export interface RequestLabels {
  readonly method: string
  readonly path: string
  readonly server_type: 'readwrite' | 'readonly'
  readonly long_running: 'true' | 'false'
}

/** Called when a request begins; what it returns is called when the request has been answered to its end. */
export type OnRequest = (labels: RequestLabels) => () => void

const methods = new Set(['OPTIONS', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'TRACE', 'CONNECT'])
const open = ['healthz', 'pods', 'stats', 'metrics', 'metrics/cadvisor', 'metrics/probes', 'metrics/resource']
const guarded = ['run', 'exec', 'attach', 'portForward', 'containerLogs', 'configz', 'runningpods', 'checkpoint', 'logs', 'debug']
const paths = { readonly: new Set(open), readwrite: new Set([...open, ...guarded]) }
// In small letters, as upstream has it: a port forward is not among them.
const longRunning = new Set(['exec', 'attach', 'portforward', 'debug'])

export const requestLabels = (
  method: string,
  segments: readonly string[],
  server: RequestLabels['server_type'],
): RequestLabels => {
  const [first = '', second] = segments
  const root = first === 'metrics' && second !== undefined ? `metrics/${second}` : first
  const path = paths[server].has(root) ? root : 'other'
  return {
    method: methods.has(method) ? method : 'other',
    path,
    server_type: server,
    long_running: longRunning.has(path) ? 'true' : 'false',
  }
}
