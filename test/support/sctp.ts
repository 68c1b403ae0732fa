// SCTP for kernels that have no sockets of it: the first packet of a connection, made by hand, and a raw socket that sees it arrive.
// Enough to show where conntrack and NAT send it and whose address it bears; nobody answers.

import type { Netns } from './netns.ts'
import { waitFor } from './wait.ts'

export interface SctpListener {
  /** The next INIT from this port: `ADDRESS PORT`, whom it comes from and where it is for; undefined when none comes in time. */
  next(fromPort: number, timeoutMs?: number): Promise<string | undefined>
  stop(): void
}

// CRC-32C, which conntrack checks before it looks at anything else.
const crc32c = (bytes: Buffer): number => {
  let crc = 0xffff_ffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1
  }
  return ~crc >>> 0
}

const initPacket = (fromPort: number, port: number): Buffer => {
  const packet = Buffer.alloc(32)
  packet.writeUInt16BE(fromPort, 0)
  packet.writeUInt16BE(port, 2)
  // One chunk: INIT, 20 bytes, with a tag, a window, a stream each way and a first number.
  packet.writeUInt8(1, 12)
  packet.writeUInt16BE(20, 14)
  packet.writeUInt32BE(0x1234_5678, 16)
  packet.writeUInt32BE(65_536, 20)
  packet.writeUInt16BE(1, 24)
  packet.writeUInt16BE(1, 26)
  packet.writeUInt32BE(1, 28)
  packet.writeUInt32LE(crc32c(packet), 8)
  return packet
}

const sender = `use Socket; socket(S, PF_INET, SOCK_RAW, 132) or die "$!"; send(S, pack("H*", $ARGV[1]), 0, sockaddr_in(0, inet_aton($ARGV[0]))) or die "$!"`
const receiver = `use Socket; $| = 1; socket(S, PF_INET, SOCK_RAW, 132) or die "$!"; print "ready\\n";
while (defined(my $from = recv(S, my $packet, 2000, 0))) { my ($port, $ip) = sockaddr_in($from);
my ($sport, $dport) = unpack("nn", substr($packet, (ord($packet) & 15) * 4)); print inet_ntoa($ip), " $dport $sport\\n" }`

/** Sends the first packet of an SCTP connection. */
export const sendSctp = async (from: Netns, to: string, port: number, fromPort: number): Promise<void> =>
  void (await from.run(['perl', '-e', sender, to, initPacket(fromPort, port).toString('hex')]))

/** Sees every SCTP packet that arrives at a host. */
export const listenSctp = async (at: Netns): Promise<SctpListener> => {
  const lines: string[] = []
  const watched = at.exec.watch(['perl', '-e', receiver], line => lines.push(line))
  watched.ended.catch(() => undefined)
  await waitFor('the SCTP listener', () => lines.includes('ready'))
  return {
    next: (fromPort, timeoutMs = 1_000) =>
      waitFor('an SCTP packet', () => lines.find(line => line.endsWith(` ${fromPort}`)), timeoutMs).then(
        line => line.split(' ').slice(0, 2).join(' '),
        () => undefined,
      ),
    stop: watched.stop,
  }
}
