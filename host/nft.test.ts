// How single elements are asked for: all by one process, and on after each that is not there.
import t from 'tap'
import type { Exec } from './exec.ts'
import { createNftElements } from './nft.ts'

// nft answers a file line by line and ends at the first element that is not there.
const kernel = (elements: Readonly<Record<string, string>>) => {
  const inputs: string[] = []
  const exec: Pick<Exec, 'try'> = {
    try: async (_, { input = '' } = {}) => {
      inputs.push(input)
      let stdout = ''
      for (const line of input.trim().split('\n')) {
        const [, set = '', key = ''] = /^get element ip t (\S+) \{ (.*) \}$/.exec(line) ?? []
        if (set === 'refused') return { exitCode: 1, stdout, stderr: 'Operation not permitted' }
        const found = elements[`${set} ${key}`]
        if (found === undefined)
          return { exitCode: 1, stdout, stderr: 'Error: Could not process rule: No such file or directory' }
        stdout += `table ip t {\n\tset ${set} {\n\t\telements = { ${found} }\n\t}\n}\n`
      }
      return { exitCode: 0, stdout, stderr: '' }
    },
  }
  return { inputs, find: createNftElements(exec).find }
}
const name = (set: string, key: string) => ({ set, key })

t.test('elements that are all there cost one process', async t => {
  const { find, inputs } = kernel({ 'm 1': '1 : goto a', 's 2': '2 timeout 3h expires 2h' })
  t.same(await find('ip t', [name('m', '1'), name('s', '2')]), ['1 : goto a', '2 timeout 3h expires 2h'])
  t.equal(inputs.length, 1)
})

t.test('each that is not there is known by its place', async t => {
  const { find, inputs } = kernel({ 'm 2': '2 : a', 'm 4': '4 : b' })
  const wanted = ['1', '2', '3', '4', '5'].map(key => name('m', key))
  t.same(await find('ip t', wanted), [undefined, '2 : a', undefined, '4 : b', undefined])
  t.equal(inputs.length, 3)
  t.same(await find('ip t', []), [])
})

t.test('another refusal is a failure', async t => {
  const { find } = kernel({})
  await t.rejects(find('ip t', [name('refused', '1')]), {
    code: 'kernel-refused',
    message: /show elements: Operation not permitted/,
  })
})
