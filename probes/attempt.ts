// One attempt of one probe: picks the kind of question from the spec, asks it, and asks again when asking itself failed.
// Holds no state about results; probes/table.ts decides when, probes/probe.ts what it means.
import type { Container, Probe } from '../api/types.ts'
import type { Clock } from '../host/clock.ts'
import { describe } from '../host/fault.ts'
import { type ExecSync, expandStatic, probeExec } from './exec.ts'
import { createGrpcProber } from './grpc.ts'
import { createHttpSender, probeHttp } from './http.ts'
import { type Answer, toTiming } from './probe.ts'
import { toRequest } from './request.ts'
import { resolvePort } from './target.ts'
import { probeTcp } from './tcp.ts'

/** The container that is asked. */
export interface Asked {
  readonly container: Container
  readonly containerId: string
  readonly podIPs: readonly string[]
}

export type Attempt = (probe: Probe, asked: Asked, signal: AbortSignal) => Promise<Answer>

// As often as the kubelet asks within one attempt when the question itself fails.
const tries = 3

/** What makes attempts; they never reject. */
export const createAttempt = (deps: { readonly cri: ExecSync; readonly clock: Clock }): Attempt => {
  const ask = createAsk(deps)
  return async (probe, asked, signal) => {
    for (let made = 1; ; made++) {
      const answer = await ask(probe, asked, signal).catch(
        (error: unknown): Answer => ({ outcome: 'error', message: describe(error) }),
      )
      if (answer.outcome !== 'error' || made === tries || signal.aborted) return answer
    }
  }
}

const createAsk = ({ cri, clock }: { readonly cri: ExecSync; readonly clock: Clock }): Attempt => {
  const sendHttp = createHttpSender(clock)
  const probeGrpc = createGrpcProber(clock)
  return async (probe, { container, containerId, podIPs }, signal) => {
    const { timeoutMs } = toTiming(probe)
    const podIP = podIPs[0] ?? ''
    if (probe.exec) {
      const command = expandStatic(probe.exec.command ?? [], container.env)
      return probeExec({ containerId, command, timeoutSeconds: timeoutMs / 1000 }, cri, signal)
    }
    const host = probe.httpGet?.host || probe.tcpSocket?.host || podIP
    // An empty host would be this machine's own loopback.
    if (host === '') return { outcome: 'error', message: 'the pod has no address' }
    if (probe.httpGet) return probeHttp(toRequest(probe.httpGet, container, podIP, 'probe'), timeoutMs, sendHttp, signal)
    if (probe.tcpSocket) {
      const port = resolvePort(probe.tcpSocket.port, container)
      return probeTcp({ host, port, timeoutMs }, clock, signal)
    }
    if (probe.grpc) return probeGrpc({ host: podIP, port: probe.grpc.port, service: probe.grpc.service ?? '', timeoutMs }, signal)
    return { outcome: 'error', message: `missing probe handler for container "${container.name}"` }
  }
}
