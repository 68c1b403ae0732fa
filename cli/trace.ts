// nodelet trace: the way of a packet to a Service, what the kernel holds of it, and whether that is what it should be.
// Whoever routes Services works it out and puts it into words (proxy/trace.ts, proxy/trace-text.ts).
import { type Output, parse, podOptions, processOutput, runCommand, UsageError } from './command.ts'
import { askRouter } from './socket.ts'

export const usage = 'nodelet trace SERVICE|IP:PORT [--from POD|IP] [--proto tcp|udp|sctp] [-n NAMESPACE] [-o json]'

const options = {
  ...podOptions,
  from: { type: 'string' },
  proto: { type: 'string' },
  output: { type: 'string', short: 'o' },
} as const

const protocols = ['tcp', 'udp', 'sctp']

export const run = (argv: readonly string[], output: Output = processOutput): Promise<number> =>
  runCommand(usage, argv, output, async () => {
    const { values, positionals } = parse(argv, options)
    const [target, ...more] = positionals
    if (target === undefined || more.length > 0) throw new UsageError('name one Service, or an address and port')
    const { namespace, from, proto } = values
    if (proto !== undefined && !protocols.includes(proto.toLowerCase()))
      throw new UsageError(`unknown protocol "${proto}", one of ${protocols.join(', ')} is wanted`)
    if (values.output !== undefined && values.output !== 'json')
      throw new UsageError(`unknown output format "${values.output}", json is wanted`)
    const query = new URLSearchParams({ target, namespace })
    if (from !== undefined) query.set('from', from)
    if (proto !== undefined) query.set('protocol', proto)
    const path = `/v1/trace?${query}`
    const isJson = values.output === 'json'
    const found = await askRouter(values.socket, async daemon => (isJson ? daemon.json(path) : daemon.text(path)))
    output.out(isJson ? `${JSON.stringify(found, null, 4)}\n` : String(found))
    return 0
  })
