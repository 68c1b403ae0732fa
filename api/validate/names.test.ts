// Names, keys and paths: the forms that the API allows.
import t from 'tap'
import { configKey, dnsLabel, dnsSubdomain, environmentName, isCidr, labelValue, portName, qualifiedName } from './names.ts'
import { nearest } from './nearest.ts'
import { join, stepsOf } from './problem.ts'

for (const [name, form, right, wrong] of [
  ['a DNS label', dnsLabel, ['a', 'a-1', 'a'.repeat(63)], ['', '-a', 'a.b', 'A', 'a'.repeat(64)]],
  ['a DNS name', dnsSubdomain, ['a.b-c.d'], ['a..b', '.a', 'a_b', 'a'.repeat(254)]],
  ['a label value', labelValue, ['', 'A_b.c-1'], ['-a', 'a b', 'a'.repeat(64)]],
  ['a label key', qualifiedName, ['app', 'example.com/App_1'], ['', '/a', 'a/', 'a/b/c', 'Example.com/a']],
  ['a key of a ConfigMap', configKey, ['a.b-c_D', '.a'], ['', '..', '..a', 'a/b']],
  ['a port name', portName, ['http', 'a-1', 'x'.repeat(15)], ['', '80', 'a--b', '-a', 'a-', 'x'.repeat(16)]],
  ['an environment name', environmentName, ['A', 'a.b-c', '1'], ['', 'a=b', 'ä']],
] as const) {
  t.test(`${name} is told from what is none`, async t => {
    for (const text of right) t.ok(form.ok(text), text)
    for (const text of wrong) t.notOk(form.ok(text), text)
  })
}

t.test('a range has an address and a length that fits', async t => {
  for (const text of ['10.0.0.0/8', 'fd00::/108', '0.0.0.0/0']) t.ok(isCidr(text), text)
  for (const text of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', '10.0.0/8', '/8', '10.0.0.0/8/8', '10.0.0.0/'])
    t.notOk(isCidr(text), text)
})

t.test('paths can be taken apart again', async t => {
  for (const steps of [
    ['spec', 'containers', 0, 'name'],
    ['metadata', 'labels', 'a.b/c'],
    ['data', 'x'],
  ] as const) {
    t.same(stepsOf(steps.reduce<string>(join, '')), steps)
  }
})

t.test('the nearest word is close', async t => {
  t.equal(nearest('imagee', ['image', 'images']), 'image')
  t.equal(nearest('emptydir', ['emptyDir', 'hostPath']), 'emptyDir')
  t.equal(nearest('zzz', ['image']), undefined)
})
