import t from 'tap'
import { normalizeImageName, parseImageName, repositoryOf, withDefaultTag } from './image-name.ts'

const digest = `sha256:${'a'.repeat(64)}`

for (const [given, full, asked] of [
  ['busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
  ['busybox:1.36', 'docker.io/library/busybox:1.36', 'busybox:1.36'],
  ['team/app', 'docker.io/team/app:latest', 'team/app:latest'],
  ['docker.io/busybox', 'docker.io/library/busybox:latest', 'docker.io/busybox:latest'],
  ['index.docker.io/busybox', 'docker.io/library/busybox:latest', 'index.docker.io/busybox:latest'],
  ['localhost/app', 'localhost/app:latest', 'localhost/app:latest'],
  ['localhost:5000/app', 'localhost:5000/app:latest', 'localhost:5000/app:latest'],
  ['registry.example/a/b/c:v1', 'registry.example/a/b/c:v1', 'registry.example/a/b/c:v1'],
  ['[fd00::1]:5000/app', '[fd00::1]:5000/app:latest', '[fd00::1]:5000/app:latest'],
  [`app@${digest}`, `docker.io/library/app@${digest}`, `app@${digest}`],
  [`app:v1@${digest}`, `docker.io/library/app:v1@${digest}`, `app:v1@${digest}`],
] as const) {
  t.test(`${given} is ${full}, and the runtime is asked for ${asked}`, async t => {
    t.equal(normalizeImageName(given), full)
    t.equal(withDefaultTag(given), asked)
  })
}

for (const [name, given] of [
  ['capitals', 'team/App'],
  ['nothing', ''],
  ['a tag that is none', 'app:-x'],
  ['a space', 'a b'],
  ['three dots', 'registry.example/a...b'],
  ['an id', 'a'.repeat(64)],
  ['a short digest', 'app@sha256:abc'],
  ['a digest of an unknown kind', `app@md5:${'a'.repeat(32)}`],
  ['a scheme', 'https://registry.example/app'],
  ['a slash at the end', 'registry.example/app/'],
] as const) {
  t.test(`${name} is no image name`, async t =>
    t.throws(() => parseImageName(given), { code: 'image-name', reason: 'InvalidImageName', retry: 'never' }),
  )
}

t.test('credentials are found by registry and path', async t => t.equal(repositoryOf('busybox:1'), 'docker.io/library/busybox'))
