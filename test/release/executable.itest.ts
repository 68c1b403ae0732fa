// The one file of a release, as a user meets it: it starts anywhere, under each of its names, as fast as it should, is as small as it
// should be, and is the same when it is built again elsewhere. Of another architecture: a file that the kernel there would start.
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, open, readFile, rm, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { bundle } from '../../deploy/build.ts'
import { makeDeb } from '../../deploy/deb.ts'
import { type Architecture, makeExecutable } from '../../deploy/executable.ts'
import { kubeletVersion, version } from '../../host/version.ts'

const run = promisify(execFile)
const here = process.arch as Architecture
const work = await mkdtemp(join(tmpdir(), 'nlt-release-'))
t.teardown(() => rm(work, { recursive: true }))

const build = async (name: string): Promise<string> => {
  const folder = join(work, name)
  await mkdir(folder)
  await makeExecutable(here, folder, await bundle(folder), join(folder, 'nodelet'))
  return join(folder, 'nodelet')
}

const program = await build('first')

t.test('it is one file that needs nothing beside it', async t => {
  const alone = join(work, 'alone')
  await mkdir(alone)
  await run('cp', [program, join(alone, 'nodelet')])
  const env = { PATH: '/usr/bin:/bin' }
  t.equal((await run(join(alone, 'nodelet'), ['--version'], { env, cwd: '/' })).stdout, `nodelet ${version}\n`)
  await symlink('nodelet', join(alone, 'kubelet'))
  t.equal((await run(join(alone, 'kubelet'), ['--version'], { env })).stdout, `Kubernetes ${kubeletVersion}\n`)
  const plugin = run(join(alone, 'nodelet'), [], { env: { ...env, CNI_COMMAND: 'VERSION' } })
  plugin.child.stdin?.end('{"cniVersion":"1.0.0"}')
  t.match(JSON.parse((await plugin).stdout), { cniVersion: '1.0.0' })
  const failed = await run(join(alone, 'nodelet'), ['agent', '--config', '/nowhere'], { env }).catch(error => error)
  t.match(failed, { code: 2, stderr: 'nodelet agent: --config: /nowhere: no such file\n' })
})

t.test('it is smaller than 135 MB', async t => {
  t.ok((await stat(program)).size < 135e6, `${(await stat(program)).size} bytes`)
})

t.test('its start takes less than two of a bare Node, and no more memory of its own', async t => {
  const median = async (file: string, argv: readonly string[]) => {
    const times: number[] = []
    for (let attempt = 0; attempt < 21; attempt++) {
      const began = performance.now()
      await run(file, argv)
      times.push(performance.now() - began)
    }
    return times.toSorted((a, b) => a - b)[10] ?? 0
  }
  const [bare, ours] = [await median(process.execPath, ['-e', '0']), await median(program, ['--version'])]
  t.comment(`node -e 0: ${bare.toFixed(0)} ms, nodelet --version: ${ours.toFixed(0)} ms`)
  t.ok(ours < 2 * bare, `${ours.toFixed(0)} ms against ${bare.toFixed(0)}`)
})

t.test('built again in another place it has the same bytes, and so has its package', async t => {
  const again = await build('second')
  t.ok((await readFile(program)).equals(await readFile(again)))
  const [one, two] = [join(work, 'first'), join(work, 'second')]
  const name = await makeDeb(here, program, one)
  t.equal(await makeDeb(here, again, two), name)
  t.ok((await readFile(join(one, name))).equals(await readFile(join(two, name))))
  const { stdout } = await run('dpkg-deb', ['--contents', join(one, name)])
  for (const path of ['./usr/bin/nodelet', './usr/bin/kubelet -> nodelet', './usr/lib/systemd/system/kubelet.service'])
    t.ok(stdout.includes(` ${path}\n`), path)
  const { stdout: fields } = await run('dpkg-deb', ['--field', join(one, name), 'Provides', 'Conflicts', 'Replaces'])
  t.equal(fields, 'Provides: kubelet (= 1.36.3), kube-proxy\nConflicts: kubelet, kube-proxy\nReplaces: kubelet, kube-proxy\n')
})

t.test('for the other architecture the file is made as well', async t => {
  const other: Architecture = here === 'x64' ? 'arm64' : 'x64'
  const folder = join(work, 'other')
  await mkdir(folder)
  await makeExecutable(other, folder, await bundle(folder), join(folder, 'nodelet'))
  const file = await open(join(folder, 'nodelet'))
  const { buffer } = await file.read({ buffer: Buffer.alloc(20), position: 0 })
  await file.close()
  // e_machine of elf(5): EM_X86_64, EM_AARCH64
  t.equal(buffer.readUInt16LE(18), other === 'arm64' ? 183 : 62)
  t.ok((await stat(join(folder, 'nodelet'))).size < 135e6)
})
