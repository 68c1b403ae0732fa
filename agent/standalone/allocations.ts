// The memory of what was allocated, in a file under the state folder, so that Services keep their addresses over restarts. Losing
// it costs little: allocate.ts points most Services to the same addresses again. Decides nothing about addresses.
import * as v from 'valibot'
import type { Clock } from '../../host/clock.ts'
import type { Log } from '../../host/log.ts'
import { openStateFile, type StateFile } from '../../host/state-file.ts'
import type { Allocations, Holding } from './allocate.ts'

export interface AllocationMemory extends StateFile<Allocations> {
  readonly remembered: Allocations
}

const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535))
const fileSchema = v.object({
  version: v.literal(1),
  services: v.record(
    v.string(),
    v.object({
      clusterIPs: v.array(v.pipe(v.string(), v.ip())),
      nodePorts: v.record(v.string(), port),
      healthCheckNodePort: v.optional(port),
    }),
  ),
})

const parse = (text: string): Allocations => {
  const { services } = v.parse(fileSchema, JSON.parse(text))
  const entries = Object.entries(services).map(([key, { healthCheckNodePort, ...rest }]): [string, Holding] => [
    key,
    healthCheckNodePort === undefined ? rest : { ...rest, healthCheckNodePort },
  ])
  return Object.fromEntries(entries)
}

/**
 * Opens the memory; a missing or unreadable file is an empty one.
 * @param path of the file; its folder is made when it is not there
 * @throws errors of the file system other than that the file is missing
 */
export const openAllocations = async (deps: {
  readonly path: string
  readonly clock: Pick<Clock, 'after'>
  readonly log: Log
}): Promise<AllocationMemory> => {
  const what = 'the memory of Service addresses'
  const print = (services: Allocations) => `${JSON.stringify({ version: 1, services })}\n`
  const file = await openStateFile({ ...deps, what, parse, print, durable: true })
  return { ...file, remembered: file.remembered ?? {} }
}
