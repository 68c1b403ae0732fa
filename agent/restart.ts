// Whether a container that ended runs again: the pod's restart policy, the container's own, and its rules by exit code.
// Pure. Follows "Pod Lifecycle: container restarts" and KEP-5307 (restartPolicyRules).
import type { Container, Pod } from '../api/types.ts'

const policyOf = (pod: Pod, container: Container): 'Always' | 'OnFailure' | 'Never' =>
  container.restartPolicy ?? pod.spec.restartPolicy ?? 'Always'

/** Whether the rules or the policy bring back a container that ended with this exit code. */
export const restartsAfter = (pod: Pod, container: Container, exitCode: number): boolean => {
  const ruled = container.restartPolicyRules?.some(rule => {
    if (rule.action !== 'Restart' || rule.exitCodes === undefined) return false
    const listed = rule.exitCodes.values.includes(exitCode)
    return rule.exitCodes.operator === 'In' ? listed : !listed
  })
  if (ruled) return true
  switch (policyOf(pod, container)) {
    case 'Always':
      return true
    case 'OnFailure':
      return exitCode !== 0
    case 'Never':
      return false
  }
}

/** Whether a container that we kill (failed probe) is started again; rules by exit code do not count, it has none yet. */
export const restartsAfterKill = (pod: Pod, container: Container): boolean => policyOf(pod, container) !== 'Never'
