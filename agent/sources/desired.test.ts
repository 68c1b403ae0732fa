import t from 'tap'
import { combine, describeManifestProblem, type FileShare, readFileShare, unreadableShare } from './desired.ts'

const node = { name: 'Node-A', now: '2030-01-01T00:00:00.000Z' }
const read = (file: string, text: string, before?: FileShare) => readFileShare(file, text, node, before)
const pod = (name: string, image = 'web:1') =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: main, image: '${image}'}]}\n`
const configMap = (name: string, value: string) =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\ndata: {a: '${value}'}\n`
const keysOf = (...shares: FileShare[]) => combine(shares).objects.map(({ key }) => key)
const linesOf = (...shares: FileShare[]) => combine(shares).problems.map(describeManifestProblem)
const uidOf = (share: FileShare) => share.objects[0]?.manifest.object.metadata.uid

t.test('a pod of a folder is a static pod of this node', async t => {
  const [object] = read('a.yaml', pod('web')).objects
  t.equal(object!.key, 'Pod/default/web-node-a')
  const { metadata, spec } = object!.manifest.object as { metadata: { uid: string }; spec: object }
  t.match(metadata, {
    name: 'web-node-a',
    namespace: 'default',
    uid: /^[0-9a-f]{32}$/,
    annotations: {
      'kubernetes.io/config.hash': metadata.uid,
      'kubernetes.io/config.source': 'file',
      'kubernetes.io/config.seen': '2030-01-01T00:00:00.000Z',
    },
  })
  t.match(spec, { nodeName: 'Node-A', restartPolicy: 'Always' })
})

t.test('what an apiserver wrote into a copied manifest is left behind', async t => {
  const text =
    '{apiVersion: v1, kind: Pod, metadata: {name: a, uid: x, resourceVersion: "7", creationTimestamp: null, deletionTimestamp: now}, spec: {containers: [{name: a, image: b}]}, status: {phase: Running}}'
  const object = read('a', text).objects[0]?.manifest.object as object
  t.notOk('status' in object)
  const { metadata } = object as { metadata: object }
  t.same(Object.keys(metadata).sort(), ['annotations', 'name', 'namespace', 'uid'])
  t.notMatch(metadata, { uid: 'x' })
})

t.test('the uid follows what is said, not how', async t => {
  const uid = uidOf(read('a', pod('web')))
  t.equal(
    uidOf(
      read(
        'b',
        `# words\n${JSON.stringify({ spec: { containers: [{ image: 'web:1', name: 'main' }] }, metadata: { name: 'web' }, kind: 'Pod', apiVersion: 'v1' })}`,
      ),
    ),
    uid,
  )
  t.not(uidOf(read('a', pod('web', 'web:2'))), uid)
  t.not(uidOf(readFileShare('a', pod('web'), { ...node, name: 'node-b' }, undefined)), uid)
})

t.test('a Service, a ConfigMap and a Secret keep their uid over changes', async t => {
  t.equal(uidOf(read('a', configMap('c', 'x'))), uidOf(read('b', configMap('c', 'y'))))
  t.not(uidOf(read('a', configMap('c', 'x'))), uidOf(read('a', configMap('d', 'x'))))
})

t.test('of two documents with one name the first wins, by file name and then by place', async t => {
  const a = read('a.yaml', `${pod('web')}---\n${pod('web', 'web:2')}`)
  const b = read('b.yaml', pod('web', 'web:3'))
  t.equal(combine([b, a]).objects.length, 1)
  t.match(combine([b, a]).objects, [{ file: 'a.yaml', document: 1 }])
  t.same(linesOf(b, a), [
    'a.yaml: document 2, line 6: Pod default/web-node-a: metadata.name: already defined in a.yaml, line 1: want another name, or only one of them',
    'b.yaml: document 1, line 1: Pod default/web-node-a: metadata.name: already defined in a.yaml, line 1: want another name, or only one of them',
  ])
})

t.test('the same name in another namespace or kind is another object', async t => {
  t.equal(
    keysOf(read('a', `${configMap('x', '1')}---\n${pod('x')}---\n${pod('x').replace('name: x', 'name: x, namespace: other')}`))
      .length,
    3,
  )
})

t.test('a broken document names file, document, line, object and field, and harms no other', async t => {
  const share = read('a.yaml', `${configMap('c', '1')}---\n${pod('web').replace('image:', 'imagee:')}`)
  t.same(keysOf(share), ['ConfigMap/default/c'])
  t.same(linesOf(share), [
    'a.yaml: document 2, line 9: Pod default/web: spec.containers[0].image: required',
    'a.yaml: document 2, line 9: Pod default/web: spec.containers[0].imagee: "web:1": unknown field; did you mean "image"?',
  ])
})

t.test('an object whose document breaks keeps its last good version, and the others of the file change', async t => {
  const before = read('a', `${pod('web')}---\n${configMap('c', '1')}---\n${configMap('d', '1')}`)
  const broken = read('a', `${pod('web').replace('image:', 'imagee:')}---\n${configMap('c', '2')}`, before)
  t.same(keysOf(broken).sort(), ['ConfigMap/default/c', 'Pod/default/web-node-a'])
  t.equal(combine([broken]).objects.find(({ key }) => key.startsWith('Pod'))?.hash, before.objects[0]?.hash)
  t.match(linesOf(broken)[0], /\(what was there before keeps running\)$/)
  const stillBroken = read('a', `${pod('web').replace('image:', 'img:')}---\n${configMap('c', '2')}`, broken)
  t.same(keysOf(stillBroken).sort(), ['ConfigMap/default/c', 'Pod/default/web-node-a'], 'also when it stays broken')
  t.same(keysOf(read('a', configMap('c', '2'), stillBroken)), ['ConfigMap/default/c'], 'until it is taken away')
})

for (const [name, text] of [
  ['text that is no YAML', 'a: [\n'],
  ['a document without a name', 'apiVersion: v1\nkind: Pod\nmetadata: {nmae: web}\nspec: {}\n'],
  ['a list', '- 1\n'],
] as const) {
  t.test(`nothing of a file is taken away while it holds ${name}`, async t => {
    const before = read('a', `${pod('web')}---\n${configMap('c', '1')}`)
    t.same(keysOf(read('a', text, before)).sort(), ['ConfigMap/default/c', 'Pod/default/web-node-a'])
    t.same(keysOf(read('a', text)), [], 'and nothing is made up')
  })
}

t.test('an emptied file takes its objects away', async t => {
  t.same(keysOf(read('a', '# gone\n', read('a', pod('web')))), [])
})

t.test('a file that can no longer be read keeps what it gave', async t => {
  const share = unreadableShare('a', 'EACCES: permission denied', read('a', pod('web')))
  t.same(keysOf(share), ['Pod/default/web-node-a'])
  t.same(linesOf(share), ['a: EACCES: permission denied (what was there before keeps running)'])
})

t.test('a kept version gives way to a good one in another file', async t => {
  const broken = read('a', 'x: [', read('a', pod('web')))
  const moved = read('b', pod('web', 'web:2'))
  t.match(combine([broken, moved]).objects, [{ file: 'b' }])
})

t.test('a name that is too long with the name of the node is a problem', async t => {
  t.match(linesOf(read('a', pod(`${'a'.repeat(63)}.`.repeat(3) + 'a'.repeat(60)))), [
    /metadata.name: .*want at most 253 characters together with the name of this node/,
  ])
})
