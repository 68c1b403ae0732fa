import t from 'tap'
import { knowsNoswap } from './folder.ts'

for (const [release, expected] of [
  ['6.3.9-generic', false],
  ['6.4.0', true],
  ['6.18.2-cloud-amd64', true],
  ['5.15.0-100', false],
  ['7.0.0', true],
] as const)
  t.test(`kernel ${release} ${expected ? 'knows' : 'does not know'} tmpfs without swap`, async t => {
    t.equal(knowsNoswap(release), expected)
  })
