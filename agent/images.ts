// Images of containers: present by the pull policy, pulled once for all who wait, with a back-off where pulling fails.
// It asks the runtime and keeps back-offs; which image a container wants is its spec's matter, removing images gc's.
// Follows k8s.io: Images (pull policy, ImagePullBackOff, serial and parallel pulls). Back-off is per pod and image, as in the
// kubelet 1.36: the wrong credentials of one pod do not hold up the next.

import type { Cri } from '../api/cri/cri.ts'
import type { AuthConfig, Image, ImageSpec, PodSandboxConfig } from '../api/cri/types.ts'
import { fullName, namespaceOf } from '../api/pod.ts'
import type { Container, Pod, Secret } from '../api/types.ts'
import type { Clock, Millis } from '../host/clock.ts'
import { describe, Fault, isFault } from '../host/fault.ts'
import type { Log } from '../host/log.ts'
import type { CredentialProviders } from './credential-providers.ts'
import { withDefaultTag } from './image-name.ts'
import { createPullQueue } from './pull-queue.ts'
import { credentialsFor } from './registry-auth.ts'
import type { Lookup } from './sources/references.ts'

export interface PresentImage {
  /** What the runtime takes to create a container of it. */
  readonly imageRef: string
  readonly imageId: string
  /** The user that it names: by number (0 when it names none), or by a name. */
  readonly uid?: number
  readonly username?: string
  readonly pulled: boolean
  /** From the question to the answer, waiting included. */
  readonly durationMs: number
}

/** What happens on the way, for the pod's events and its timeline. */
export interface ImageEvent {
  readonly type: 'Normal' | 'Warning'
  readonly reason: 'Pulling' | 'Pulled' | 'Failed' | 'BackOff' | 'ErrImageNeverPull' | 'InspectFailed'
  readonly message: string
}

export interface EnsureOptions {
  /** Stops waiting; the pull itself stops when nobody waits for it any more. */
  readonly signal?: AbortSignal
  readonly onEvent?: (event: ImageEvent) => void
  /** The sandbox that it is for; some runtimes pull by its handler. */
  readonly sandbox?: PodSandboxConfig
  readonly runtimeHandler?: string
}

export interface ImagesDeps {
  readonly cri: Pick<Cri, 'imageStatus' | 'pullImage'>
  readonly clock: Clock
  readonly log: Log
  readonly secrets: Lookup<Secret>
  /** The node's credential providers; absent: there are none. */
  readonly providers?: CredentialProviders
  /** KubeletConfiguration serializeImagePulls, maxParallelImagePulls (absent: no limit), registryPullQPS (0: none), registryBurst. */
  readonly serialize: boolean
  readonly maxParallel?: number
  readonly qps: number
  readonly burst: number
}

export interface Images {
  /**
   * Makes sure that the container's image is there.
   * @throws Fault `image-name` (InvalidImageName), `image-never` (ErrImageNeverPull), `image-pull` (ErrImagePull,
   *   ImagePullBackOff, RegistryUnavailable, SignatureValidationFailed, ImageInspectError); the signal's reason when aborted
   */
  ensure(pod: Pod, container: Container, options?: EnsureOptions): Promise<PresentImage>
  /** When the next pull of the container's image may be tried; undefined for at once. */
  retryAt(pod: Pod, container: Container): Millis | undefined
  /** Forgets the back-offs of a pod that is gone. */
  forget(uid: string): void
}

interface Pulled {
  readonly image: Image
  readonly imageRef: string
}

const firstPauseMs = 10_000
const longestPauseMs = 300_000

interface BackOff {
  readonly uid: string
  readonly pauseMs: number
  readonly failedAt: Millis
  /** Reason and message of the pull that failed. */
  readonly cause: string
}

const policyOf = (container: Container): 'Always' | 'IfNotPresent' | 'Never' => {
  if (container.imagePullPolicy !== undefined) return container.imagePullPolicy
  return withDefaultTag(container.image).endsWith(':latest') ? 'Always' : 'IfNotPresent'
}

/** An image that names no user runs as root: said as 0, so that runAsNonRoot is refused. */
const userOf = (image: Image): Pick<PresentImage, 'uid' | 'username'> => {
  if (image.uid !== null) return { uid: image.uid.value }
  return image.username === '' ? { uid: 0 } : { username: image.username }
}

const podOf = (pod: Pod): string => `pod ${fullName(pod)}`

// The CRI lets a runtime begin its error with one of these words; any other failure is ErrImagePull.
const knownReasons = [
  ['RegistryUnavailable', 'because the registry is unavailable'],
  ['SignatureValidationFailed', 'because the signature validation failed'],
] as const

const toPullFault = (pod: Pod, image: string, error: unknown): Fault => {
  const said = describe(error)
  const known = knownReasons.find(([word]) => said.startsWith(word))
  const message = known === undefined ? said : `image pull failed for ${image} ${known[1]}${said.slice(known[0].length)}`
  return new Fault('image-pull', message, { cause: error, reason: known?.[0] ?? 'ErrImagePull', object: podOf(pod) })
}

const seconds = (ms: number): string => (ms < 1000 ? `${Math.round(ms)}ms` : `${(ms / 1000).toFixed(3).replace(/\.?0+$/, '')}s`)

export const createImages = (deps: ImagesDeps): Images => {
  const { cri, clock, log, secrets, providers, serialize, maxParallel, qps, burst } = deps
  const backOffs = new Map<string, BackOff>()
  const queue = createPullQueue({ clock, parallel: serialize ? 1 : (maxParallel ?? Number.POSITIVE_INFINITY), qps, burst })
  const keyOf = (pod: Pod, container: Container): string => `${pod.metadata.uid ?? ''}_${container.image}`
  const isExpired = (backOff: BackOff): boolean => clock.now() - backOff.failedAt > 2 * longestPauseMs

  const inspect = async (pod: Pod, spec: ImageSpec, options: EnsureOptions): Promise<Image | null> => {
    try {
      return (await cri.imageStatus(spec, false, options.signal && { signal: options.signal })).image
    } catch (error) {
      if (options.signal?.aborted) throw error
      const message = `Failed to inspect image ${JSON.stringify(spec.image)}: ${describe(error)}`
      options.onEvent?.({ type: 'Warning', reason: 'InspectFailed', message })
      throw new Fault('image-pull', message, { cause: error, reason: 'ImageInspectError', object: podOf(pod) })
    }
  }

  const refuseWhileBackingOff = (pod: Pod, container: Container, options: EnsureOptions): void => {
    const backOff = backOffs.get(keyOf(pod, container))
    if (backOff === undefined || isExpired(backOff) || clock.now() >= backOff.failedAt + backOff.pauseMs) return
    const message = `Back-off pulling image ${JSON.stringify(container.image)}`
    options.onEvent?.({ type: 'Normal', reason: 'BackOff', message })
    const retryAfterMs = backOff.failedAt + backOff.pauseMs - clock.now()
    throw new Fault('image-pull', `${message}: ${backOff.cause}`, {
      reason: 'ImagePullBackOff',
      object: podOf(pod),
      retryAfterMs,
    })
  }

  const backOffLonger = (pod: Pod, container: Container, fault: Fault): void => {
    const key = keyOf(pod, container)
    const before = backOffs.get(key)
    const pauseMs = before === undefined || isExpired(before) ? firstPauseMs : Math.min(before.pauseMs * 2, longestPauseMs)
    const cause = `${fault.reason}: ${fault.message}`
    backOffs.set(key, { uid: pod.metadata.uid ?? '', pauseMs, failedAt: clock.now(), cause })
  }

  const forgetExpired = (): void => {
    for (const [key, backOff] of backOffs) if (isExpired(backOff)) backOffs.delete(key)
  }

  /** A pull secret that is not there is passed over, as the kubelet does: an image may be public for all we know. */
  const secretsOf = async (pod: Pod): Promise<readonly Secret[]> => {
    const found: Secret[] = []
    for (const { name } of pod.spec.imagePullSecrets ?? []) {
      if (name === undefined) continue
      const reason = await (secrets.known?.(namespaceOf(pod), name) ?? Promise.resolve()).then(() => undefined, describe)
      const secret = secrets.get(namespaceOf(pod), name)
      if (secret !== undefined) found.push(secret)
      else log.warn({ pod: podOf(pod), secret: name, reason }, 'a pull secret is not there; pulling without it')
    }
    return found
  }

  const authsOf = async (pod: Pod, image: string): Promise<readonly AuthConfig[]> => {
    const [own, provided] = await Promise.all([secretsOf(pod), providers?.credentials(pod, image)])
    return credentialsFor(image, own, provided)
  }

  /** Tries one credential after the other; the failures of all make up the answer. */
  const pullWithAny = async (spec: ImageSpec, auths: readonly AuthConfig[], options: EnsureOptions, signal: AbortSignal) => {
    const failures: unknown[] = []
    for (const auth of auths.length === 0 ? [undefined] : auths) {
      try {
        return await cri.pullImage(spec, auth, options.sandbox, { signal })
      } catch (error) {
        // a runtime that is away says nothing about the credentials
        if (signal.aborted || isFault(error, 'runtime-away', 'runtime-timeout')) throw error
        failures.push(error)
      }
    }
    if (failures.length === 1) throw failures[0]
    throw new Fault('image-pull', `[${failures.map(describe).join(', ')}]`, { cause: failures[0], reason: 'ErrImagePull' })
  }

  const pull = async (pod: Pod, container: Container, spec: ImageSpec, options: EnsureOptions): Promise<Pulled> => {
    const name = JSON.stringify(container.image)
    const started = clock.monotonic()
    options.onEvent?.({ type: 'Normal', reason: 'Pulling', message: `Pulling image ${name}` })
    try {
      const auths = await authsOf(pod, container.image)
      const key = JSON.stringify([spec.image, spec.runtimeHandler, auths])
      const { value, pullMs } = await queue.run(key, signal => pullWithAny(spec, auths, options, signal), options.signal)
      const waited = `${seconds(pullMs)} (${seconds(clock.monotonic() - started)} including waiting)`
      const image = await inspect(pod, { ...spec, image: value }, options)
      if (image === null) throw new Fault('image-pull', `image ${name} was pulled and is gone again`)
      options.onEvent?.({
        type: 'Normal',
        reason: 'Pulled',
        message: `Successfully pulled image ${name} in ${waited}. Image size: ${image.size} bytes.`,
      })
      backOffs.delete(keyOf(pod, container))
      forgetExpired()
      return { image, imageRef: value }
    } catch (error) {
      if (options.signal?.aborted) throw options.signal.reason
      const fault =
        isFault(error, 'image-pull') && error.reason === 'ImageInspectError' ? error : toPullFault(pod, container.image, error)
      options.onEvent?.({ type: 'Warning', reason: 'Failed', message: `Failed to pull image ${name}: ${fault.message}` })
      backOffLonger(pod, container, fault)
      throw fault
    }
  }

  const ensure = async (pod: Pod, container: Container, options: EnsureOptions = {}): Promise<PresentImage> => {
    const started = clock.monotonic()
    const spec: ImageSpec = {
      image: withDefaultTag(container.image),
      ...(pod.metadata.annotations && { annotations: pod.metadata.annotations }),
      ...(options.runtimeHandler !== undefined && { runtimeHandler: options.runtimeHandler }),
    }
    const answer = (image: Image, imageRef: string, pulled: boolean): PresentImage => ({
      imageRef,
      imageId: image.id,
      ...userOf(image),
      pulled,
      durationMs: clock.monotonic() - started,
    })
    const policy = policyOf(container)
    const present = policy === 'Always' ? null : await inspect(pod, spec, options)
    if (present !== null) {
      const message = `Container image ${JSON.stringify(container.image)} already present on machine`
      options.onEvent?.({ type: 'Normal', reason: 'Pulled', message })
      return answer(present, present.id, false)
    }
    if (policy === 'Never') {
      const message = `Container image ${JSON.stringify(container.image)} is not present with pull policy of Never`
      options.onEvent?.({ type: 'Warning', reason: 'ErrImageNeverPull', message })
      throw new Fault('image-never', message, { reason: 'ErrImageNeverPull', object: podOf(pod) })
    }
    refuseWhileBackingOff(pod, container, options)
    const { image, imageRef } = await pull(pod, container, spec, options)
    return answer(image, imageRef, true)
  }

  return {
    ensure,
    retryAt: (pod, container) => {
      const backOff = backOffs.get(keyOf(pod, container))
      if (backOff === undefined || isExpired(backOff)) return undefined
      const at = backOff.failedAt + backOff.pauseMs
      return at > clock.now() ? at : undefined
    },
    forget: uid => {
      for (const [key, backOff] of backOffs) if (backOff.uid === uid) backOffs.delete(key)
    },
  }
}
