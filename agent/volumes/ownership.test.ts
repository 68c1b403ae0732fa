import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { applyFsGroup, groupMode } from './ownership.ts'

for (const [name, mode, isDirectory, readOnly, expected] of [
  ['a file is open to its group', 0o600, false, false, 0o660],
  ['a read-only one to be read', 0o400, false, true, 0o440],
  ['what others may do stays', 0o604, false, true, 0o644],
  ['a folder hands its group on', 0o755, true, false, 0o2775],
  ['a read-only one too', 0o1777, true, true, 0o3777],
] as const)
  t.test(`fsGroup: ${name}`, async t => {
    t.equal(groupMode({ mode, isDirectory: () => isDirectory }, readOnly).toString(8), expected.toString(8))
  })

t.test('a volume whose topmost folder is right already is left alone under OnRootMismatch, not under Always', async t => {
  const dir = fs.mkdtempSync(join(tmpdir(), 'nlt-group-'))
  t.teardown(() => fs.rmSync(dir, { recursive: true, force: true }))
  const file = join(dir, 'file')
  const modeOf = (path: string) => (fs.statSync(path).mode & 0o7777).toString(8)
  const gid = process.getgid?.() ?? 0
  fs.writeFileSync(file, '', { mode: 0o600 })
  fs.symlinkSync('/etc/passwd', join(dir, 'link'))
  await applyFsGroup(dir, { gid, readOnly: false, policy: 'OnRootMismatch' })
  t.equal(modeOf(dir), '2770')
  t.equal(modeOf(file), '660', 'it was not right before')
  fs.chmodSync(file, 0o600)
  await applyFsGroup(dir, { gid, readOnly: false, policy: 'OnRootMismatch' })
  t.equal(modeOf(file), '600')
  await applyFsGroup(dir, { gid, readOnly: false, policy: 'Always' })
  t.equal(modeOf(file), '660')
})
