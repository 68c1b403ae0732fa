// What went over the network interfaces of a network namespace, and which of them leads out, from /proc/PID/net.
// Follows proc(5).
import { readFileSync } from 'node:fs'

export interface InterfaceUse {
  readonly name: string
  readonly rxBytes: number
  readonly rxPackets: number
  readonly rxErrors: number
  readonly rxDropped: number
  readonly txBytes: number
  readonly txPackets: number
  readonly txErrors: number
  readonly txDropped: number
}

/** Reads the table of interfaces; loopback, whose traffic goes nowhere, is left out. */
export const toInterfaces = (text: string): readonly InterfaceUse[] =>
  text.split('\n').flatMap((line): InterfaceUse[] => {
    const colon = line.lastIndexOf(':')
    const name = line.slice(0, Math.max(colon, 0)).trim()
    if (name === '' || name === 'lo') return []
    const figures = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number)
    const [
      rxBytes = 0,
      rxPackets = 0,
      rxErrors = 0,
      rxDropped = 0,
      ,
      ,
      ,
      ,
      txBytes = 0,
      txPackets = 0,
      txErrors = 0,
      txDropped = 0,
    ] = figures
    return [{ name, rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped }]
  })

/** The interface of the default route of IPv4 or, without one, of IPv6: /proc/net/route and /proc/net/ipv6_route. */
export const toDefaultInterface = (route: string, route6: string): string | undefined => {
  const four = route
    .split('\n')
    .slice(1)
    .map(line => line.trim().split(/\s+/))
    .find(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
  if (four?.[0] !== undefined) return four[0]
  const six = route6.split('\n').map(line => line.trim().split(/\s+/))
  return six.find(([to = '', bits, , , , , , , , name]) => /^0+$/.test(to) && bits === '00' && name !== 'lo')?.[9]
}

export interface NetworkUse {
  /** The one that leads out; undefined when none does. */
  readonly main: InterfaceUse | undefined
  readonly interfaces: readonly InterfaceUse[]
}

/**
 * The interfaces of a process's network namespace; undefined when the process is gone.
 * @param pid `self` for our own
 */
export const readNetwork = (pid: number | 'self', proc = '/proc'): NetworkUse | undefined => {
  const read = (file: string): string => {
    try {
      return readFileSync(`${proc}/${pid}/net/${file}`, 'utf8')
    } catch {
      return ''
    }
  }
  const table = read('dev')
  if (table === '') return undefined
  const interfaces = toInterfaces(table)
  const name = toDefaultInterface(read('route'), read('ipv6_route'))
  return { main: interfaces.find(it => it.name === name), interfaces }
}
