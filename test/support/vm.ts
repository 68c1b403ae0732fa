// A virtual machine for what the kernel of this machine cannot show: Debian 12 with systemd as init, cgroup v2 and kernel 6.1,
// in QEMU without KVM, with a network card only where a test gives it one. It runs one program of this checkout, whose output comes line by line, and
// nothing of it stays: the system's disk is never written to, the checkout's disk and the process go with the run.
// The program's output and exit code come over a virtio port of their own, so that the kernel's messages do not mix with them.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Card } from './fabric.ts'
import { makeDisk, type VmImage, vmImage } from './vm-image.ts'
import { fillPayload, nodeOptions } from './vm-payload.ts'

export interface VmOptions {
  /**
   * What runs in the VM, in /opt/nodelet as root. The variable BOOT says which boot of the machine it is, from 1. waitFor of
   * test/support/wait.ts has ten times the patience there.
   */
  readonly argv: readonly string[]
  /** Container images that are in the cache of the VM's checkout. */
  readonly images: readonly string[]
  /** Called for each line of the program's output as it comes. */
  readonly onLine?: (line: string) => void
  /** The whole run, boots included. */
  readonly timeoutMs: number
  readonly memoryMiB?: number
  /** Its cable; without one it has no network card. */
  readonly card?: Card
  /** More files for /opt, by their paths below it. */
  readonly files?: Readonly<Record<string, string>>
}

export interface VmResult {
  /** The program's exit code; undefined when the VM ended, or ran out of time, before the program did. */
  readonly exitCode: number | undefined
  readonly output: readonly string[]
  /** What the kernel and systemd said, and QEMU itself. */
  readonly console: string
}

/** With this exit code the program asks for a power cut: the machine restarts at once, and the program runs again in it. */
export const powerCutCode = 100

const exitLine = /^=== exit (\d+)$/

// Only a machine that was to restart may do so: a kernel that panics would otherwise run the tests for ever.
const start = `#!/bin/bash
exec </dev/null >/dev/virtio-ports/output 2>&1
boot=$(($(cat /opt/boot 2>/dev/null) + 1))
if [ "$boot" -gt 1 ] && ! rm /opt/restarting; then echo '=== exit 101'; sleep infinity; fi
echo "$boot" >/opt/boot
mapfile -d '' argv </opt/argv
export PATH=/opt/nodelet/node_modules/.bin:$PATH BOOT=$boot NODELET_TEST_PATIENCE=10 NODE_OPTIONS='${nodeOptions}'
cd /opt/nodelet && "\${argv[@]}"
code=$?
if [ $code = ${powerCutCode} ]; then
  touch /opt/restarting
  sync
  echo b >/proc/sysrq-trigger
  sleep infinity
fi
echo "=== exit $code"
sleep infinity
`

// Page tables of the kernel's own, which this processor would get, cost a good part of the time where memory is emulated.
const kernelArgs = 'root=/dev/vda rw console=ttyS0 panic=1 quiet mitigations=off audit=0'

// Emulation only: KVM hangs on some machines that are virtual themselves, and a test must run the same everywhere.
const qemuArgv = ({ kernel, initrd, disk }: VmImage, payload: string, console: string, { memoryMiB = 3072, card }: VmOptions) => [
  ...['qemu-system-x86_64', '-nodefaults', '-display', 'none'],
  ...[
    '-nic',
    card === undefined ? 'none' : `tap,ifname=${card.device},script=no,downscript=no,model=virtio-net-pci,mac=${card.mac}`,
  ],
  ...['-accel', 'tcg,thread=multi', '-cpu', 'Nehalem', '-smp', '2', '-m', String(memoryMiB)],
  ...['-kernel', kernel, '-initrd', initrd, '-append', kernelArgs],
  // snapshot: what the machine writes goes to a file that has no name
  ...[disk, payload].flatMap(file => ['-drive', `file=${file},if=virtio,format=raw,snapshot=on,cache=unsafe`]),
  ...['-serial', `file:${console}`],
  ...['-device', 'virtio-rng-pci', '-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=output,name=output'],
  ...['-chardev', 'stdio,id=output,signal=off'],
]

const payloadBytes = 8 * 1024 ** 3

const makePayload = async (work: string, { argv, images, files = {} }: VmOptions): Promise<string> => {
  const folder = join(work, 'payload')
  await mkdir(folder)
  await fillPayload(folder, images)
  for (const [path, from] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await copyFile(from, join(folder, path))
  }
  await writeFile(join(folder, 'argv'), argv.map(word => `${word}\0`).join(''))
  await writeFile(join(folder, 'start'), start)
  await chmod(join(folder, 'start'), 0o755)
  const disk = join(work, 'payload.img')
  await makeDisk(folder, disk, payloadBytes)
  await rm(folder, { recursive: true })
  return disk
}

/** Boots the machine, runs the program in it, and takes everything away again. */
export const runVm = async (options: VmOptions): Promise<VmResult> => {
  const work = await mkdtemp(join(tmpdir(), 'nlt-vm-'))
  try {
    const image = await vmImage()
    const payload = await makePayload(work, options)
    const log = join(work, 'console')
    const argv = qemuArgv(image, payload, log, options)
    // setpriv and nsenter become QEMU itself: the process id is QEMU's, and it ends with this process, however that ends
    const inNetwork = options.card === undefined ? argv : options.card.netns.wrap(argv)
    const [program = '', ...args] = ['setpriv', '--pdeathsig', 'KILL', ...inNetwork]
    // while stdin is at its end QEMU takes the port for closed, and writes in the machine wait for ever
    const machine = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    const end = () => machine.kill('SIGKILL')
    const timer = setTimeout(end, options.timeoutMs)
    let said = ''
    machine.stderr.on('data', chunk => {
      said += chunk
    })
    const output: string[] = []
    let exitCode: number | undefined
    createInterface({ input: machine.stdout }).on('line', line => {
      const code = exitLine.exec(line)?.[1]
      if (code === undefined) {
        output.push(line)
        options.onLine?.(line)
      } else {
        exitCode = Number(code)
        end()
      }
    })
    try {
      await once(machine, 'close')
    } finally {
      clearTimeout(timer)
      end()
    }
    return { exitCode, output, console: `${await readFile(log, 'utf8').catch(() => '')}${said}` }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}
