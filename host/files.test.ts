import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ensureDir, openInside, pathAt, readInside, removeTree, walkTree, writeFileAtomic } from './files.ts'

const base = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'nlt-files-')))
t.teardown(() => fs.rmSync(base, { recursive: true, force: true }))
const modeOf = (path: string) => (fs.statSync(path).mode & 0o7777).toString(8)

t.test('a file is replaced whole, with its mode, and leaves nothing beside it', async t => {
  const dir = join(base, 'atomic')
  await ensureDir(dir, 0o750)
  const path = join(dir, 'f')
  fs.writeFileSync(path, 'old', { mode: 0o600 })
  const before = fs.openSync(path, 'r')
  await writeFileAtomic(path, 'new', { mode: 0o666, durable: true })
  t.equal(fs.readFileSync(path, 'utf8'), 'new')
  t.equal(fs.readFileSync(before, 'utf8'), 'old', 'who has it open keeps the old one')
  fs.closeSync(before)
  t.equal(modeOf(path), '666', 'whatever the umask')
  await t.rejects(writeFileAtomic(join(dir, 'no/f'), '', { mode: 0o600 }), { code: 'ENOENT' })
  fs.mkdirSync(join(dir, 'busy'))
  await t.rejects(writeFileAtomic(join(dir, 'busy'), '', { mode: 0o600 }))
  t.same(fs.readdirSync(dir).sort(), ['busy', 'f'])
})

t.test('a folder that is there keeps its mode', async t => {
  const dir = join(base, 'dir')
  await ensureDir(join(dir, 'new'), 0o777)
  t.equal(modeOf(join(dir, 'new')), '777')
  fs.chmodSync(join(dir, 'new'), 0o700)
  await ensureDir(join(dir, 'new'), 0o777)
  t.equal(modeOf(join(dir, 'new')), '700')
})

t.test('paths inside a root', async t => {
  const root = join(base, 'inside/root')
  fs.mkdirSync(join(root, 'a/b'), { recursive: true })
  fs.writeFileSync(join(root, 'a/file'), 'content')
  fs.writeFileSync(join(base, 'inside/secret'), 'secret')
  for (const [link, target] of [
    ['up', '..'],
    ['a/up', '..'],
    ['a/upup', '../..'],
    ['abs', base],
    ['abs-in', `${root}/a/file`],
    ['abs-sneaky', `${root}/../secret`],
    ['rel', 'a/../a/file'],
    ['chain', 'rel'],
    ['loop', 'pool'],
    ['pool', 'loop'],
    ['dangling', 'a/none'],
  ] as const)
    fs.symlinkSync(target, join(root, link))

  for (const path of ['a/file', './a//file', 'rel', 'chain', 'abs-in', 'a/up/a/file', 'a/b/../file'])
    t.test(`${path} is found`, async t => {
      t.equal((await readInside(root, path, 100)).toString(), 'content')
    })
  for (const [path, error] of [
    ['/a/file', { code: 'io', message: /leads out of/ }],
    ['..', { code: 'io', message: /leads out of/ }],
    ['a/../../secret', { code: 'io', message: /leads out of/ }],
    ['up', { code: 'io', message: /leads out of/ }],
    ['a/upup/secret', { code: 'io', message: /leads out of/ }],
    ['abs', { code: 'io', message: /leads out of/ }],
    ['abs-sneaky', { code: 'io', message: /leads out of/ }],
    ['loop', { code: 'io', message: /too many symbolic links/ }],
    ['none', { code: 'not-found' }],
    ['dangling', { code: 'not-found' }],
    ['a/file/x', { code: 'ENOTDIR' }],
    ['a', { code: 'io', message: 'a is not a regular file' }],
  ] as const)
    t.test(`${path} is refused`, async t => {
      await t.rejects(readInside(root, path, 100), error)
    })
  t.test('a file that is too large is refused', async t => {
    await t.rejects(readInside(root, 'a/file', 6), { message: 'a/file is larger than 6 bytes' })
  })
  t.test('missing folders are made with the mode that is asked for', async t => {
    const handle = await openInside(root, 'x/y', 0o2770)
    fs.writeFileSync(pathAt(handle, 'made'), '')
    await handle.close()
    t.same(fs.readdirSync(join(root, 'x/y')), ['made'])
    t.equal(modeOf(join(root, 'x')), '2770')
    t.equal(modeOf(join(root, 'x/y')), '2770')
  })
  t.test('no handle is left open', async t => {
    const open = () => fs.readdirSync('/proc/self/fd').length
    const before = open()
    await t.rejects(readInside(root, 'a/upup/secret', 1))
    await (await openInside(root, 'a/up/a/b')).close()
    t.equal(open(), before)
  })
})

t.test('a tree is removed without following its links', async t => {
  const dir = join(base, 'tree')
  const outside = join(base, 'outside')
  fs.mkdirSync(outside)
  fs.writeFileSync(join(outside, 'kept'), '')
  fs.mkdirSync(join(dir, 'a/b'), { recursive: true })
  fs.symlinkSync(outside, join(dir, 'a/link'))
  fs.symlinkSync(outside, join(dir, 'top'))
  await removeTree(join(dir, 'top'))
  t.notOk(fs.existsSync(join(dir, 'top')))
  await removeTree(dir)
  t.notOk(fs.existsSync(dir))
  t.same(fs.readdirSync(outside), ['kept'])
  await t.resolves(removeTree(dir), 'what is not there is fine')
  await t.resolves(removeTree(join(dir, 'no/parent')))
})

t.test('a tree is walked from below, links by their own path', async t => {
  const dir = join(base, 'walk')
  fs.mkdirSync(join(dir, 'a'), { recursive: true })
  fs.writeFileSync(join(dir, 'a/f'), '')
  fs.symlinkSync('/', join(dir, 'a/l'))
  const kinds: string[] = []
  await walkTree(dir, async (path, stat) => {
    kinds.push(
      stat.isSymbolicLink()
        ? `link to ${fs.readlinkSync(path)}`
        : `${stat.isDirectory() ? 'folder' : 'file'} ${fs.realpathSync(path)}`,
    )
  })
  t.same(kinds.slice(0, 2).sort(), [`file ${dir}/a/f`, 'link to /'])
  t.same(kinds.slice(2), [`folder ${dir}/a`, `folder ${dir}`])
})
