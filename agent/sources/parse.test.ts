import t from 'tap'
import { parseManifests } from './parse.ts'

const valuesOf = (text: string) => parseManifests(text).documents.map(({ value }) => value)
const linesOf = (text: string) => parseManifests(text).documents.map(({ number, line }) => [number, line])

for (const [name, text, expected] of [
  ['one document', 'a: 1', [{ a: 1 }]],
  ['several documents', 'a: 1\n---\nb: 2\n...\n---\nc: 3\n', [{ a: 1 }, { b: 2 }, { c: 3 }]],
  ['empty documents are left out', '---\n---\n# only words\n---\na: 1\n---\n', [{ a: 1 }]],
  ['an empty file has none', '', []],
  ['JSON', '{"a": [1, "x", null],\n\t"b": {}}', [{ a: [1, 'x', null], b: {} }]],
  ['anchors and merges', 'x: &x {a: 1}\ny: *x\nz: {<<: *x, b: 2}', [{ x: { a: 1 }, y: { a: 1 }, z: { a: 1, b: 2 } }]],
  [
    'file modes are octal',
    'mode: 0644\nother: 0o600\nplain: 420\ntext: "0644"',
    [{ mode: 420, other: 0o600, plain: 420, text: '0644' }],
  ],
  ['yes is a text, as YAML 1.2 says', 'a: yes\nb: true', [{ a: 'yes', b: true }]],
  [
    'a List is its items',
    'kind: List\nitems:\n- {kind: Pod, a: 1}\n- {kind: Service}',
    [{ kind: 'Pod', a: 1 }, { kind: 'Service' }],
  ],
  [
    'items of a PodList are pods',
    'apiVersion: v1\nkind: PodList\nitems: [{metadata: {}}]',
    [{ apiVersion: 'v1', kind: 'Pod', metadata: {} }],
  ],
  ['an empty List is nothing', 'kind: List\nitems: []', []],
] as const) {
  t.test(name, async t => t.same(valuesOf(text), expected))
}

t.test('documents know their number and line', async t => {
  t.same(linesOf('# words\na: 1\n---\n---\nb: 2\n'), [
    [1, 2],
    [3, 5],
  ])
})

for (const [path, line] of [
  ['', 1],
  ['kind', 1],
  ['spec', 3],
  ['spec.containers', 4],
  ['spec.containers[0].name', 5],
  ['spec.containers[0].image', 6],
  ['spec.containers[1]', 7],
  ['spec.containers[1].image.not.there', 8],
  ['metadata.labels[a.b/c]', 2],
  ['spec.missing', 3],
] as const) {
  t.test(`the field ${path || '(none)'} stands in line ${line}`, async t => {
    const [document] = parseManifests(
      'kind: Pod\nmetadata: {labels: {a.b/c: x}}\nspec:\n  containers:\n  - name: a\n    image: b\n  - name: c\n    image: d\n',
    ).documents
    t.equal(document?.lineOf(path), line)
  })
}

t.test('fields of a List item and behind an alias are found', async t => {
  const { documents } = parseManifests('kind: List\nitems:\n- kind: Pod\n- kind: Pod\n  x: &x\n    y: 1\n  z: *x\n')
  t.equal(documents[1]?.lineOf('x.y'), 6)
  t.equal(documents[1]?.lineOf('z.y'), 6)
  t.same(
    documents.map(({ number, line }) => [number, line]),
    [
      [1, 3],
      [1, 4],
    ],
  )
})

for (const [name, text, expected] of [
  ['a key twice', 'a: 1\nb: 2\na: 3\n', { number: 1, line: 3, message: /unique/ }],
  ['an open bracket', 'a: [1, 2\n', { number: 1 }],
  ['a tab', 'a:\n\tb: 1\n', { number: 1, line: 2 }],
  ['an alias to nothing', 'a: *x\n', { number: 1, message: /x/ }],
] as const) {
  t.test(`${name} breaks its document and no other`, async t => {
    const { documents, broken } = parseManifests(`${text}---\nok: 1\n`)
    t.match(broken, [expected])
    t.notMatch(broken[0]?.message, /\n/)
    t.same(
      documents.map(({ value }) => value),
      [{ ok: 1 }],
    )
  })
}

t.test('aliases that would fill the memory are refused', async t => {
  const levels = Array.from(
    { length: 12 },
    (_, i) =>
      `l${i}: &l${i} [${Array(10)
        .fill(i === 0 ? 'x' : `*l${i - 1}`)
        .join(', ')}]`,
  )
  t.match(parseManifests(levels.join('\n')).broken, [{ number: 1, message: /alias/i }])
})
