// The last words of a container: its termination message file, or the end of its log where the policy asks for that.
// Limits are the kubelet's: 4096 bytes of the file, 2048 bytes or 80 lines of the log.
import { open } from 'node:fs/promises'
import type { ContainerStatus } from '../api/cri/types.ts'
import { messagePathAnnotation, messagePolicyAnnotation } from './labels.ts'

const longestMessage = 4096
const longestLogMessage = 2048
const mostLogLines = 80
const longestLogRead = 65_536

/** The message of an ended container; the runtime's own where it left none. Never throws: no message is an answer. */
export const readTerminationMessage = async (status: ContainerStatus): Promise<string> => {
  const path = status.annotations[messagePathAnnotation]
  const file = status.mounts.find(it => it.containerPath === path)?.hostPath
  const written = file === undefined ? '' : await readEnd(file, longestMessage)
  if (written !== '') return written
  const failed = status.exitCode !== 0 || status.reason === 'OOMKilled'
  if (failed && status.annotations[messagePolicyAnnotation] === 'FallbackToLogsOnError') return readLogEnd(status.logPath)
  return status.message
}

const readEnd = async (path: string, most: number): Promise<string> => {
  try {
    const file = await open(path, 'r')
    try {
      const { size } = await file.stat()
      const length = Math.min(size, most)
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length)
      return buffer.toString('utf8', 0, bytesRead)
    } finally {
      await file.close()
    }
  } catch {
    return ''
  }
}

/** The tail of a CRI log, without the timestamps and tags that the runtime puts before each line. */
const readLogEnd = async (path: string): Promise<string> => {
  const raw = await readEnd(path, longestLogRead)
  const lines = raw
    .split('\n')
    .slice(-mostLogLines - 1)
    .filter(line => line !== '')
    .map(line => {
      const [, , tag = '', ...text] = line.split(' ')
      return text.join(' ') + (tag.startsWith('P') ? '' : '\n')
    })
  return Buffer.from(lines.join('')).subarray(-longestLogMessage).toString()
}
