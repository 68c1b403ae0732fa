import t from 'tap'
import type { Pod } from '../api/types.ts'
import { formatMap, metadataField, podField, resourceField } from './downward.ts'

const pod: Pod = {
  metadata: {
    name: 'web-0',
    namespace: 'shop',
    uid: 'u-1',
    labels: { tier: 'front', app: 'web', 'example.com/Zone': 'a' },
    annotations: { 'Example.COM/note': 'two\nlines', plain: 'say "hi"' },
  },
  spec: {
    nodeName: 'node-1',
    serviceAccountName: 'builder',
    containers: [
      {
        name: 'main',
        image: 'i',
        resources: {
          limits: { cpu: '1500m', memory: '100Mi', 'hugepages-2Mi': '4Mi' },
          requests: { cpu: '250m', memory: '64Mi' },
        },
      },
      { name: 'side', image: 'i' },
    ],
    initContainers: [{ name: 'setup', image: 'i', resources: { limits: { memory: '1Ki' } } }],
  },
}
const live = { podIPs: ['10.1.0.5', 'fd00::5'], hostIPs: ['192.0.2.1', '2001:db8::1'] }
const allocatable = { cpu: '4', memory: '8Gi', 'ephemeral-storage': '10G' }
const main = pod.spec.containers[0]
const side = pod.spec.containers[1]

for (const [fieldPath, expected] of [
  ['metadata.name', 'web-0'],
  ['metadata.namespace', 'shop'],
  ['metadata.uid', 'u-1'],
  ['metadata.labels', 'app="web"\nexample.com/Zone="a"\ntier="front"'],
  ['metadata.annotations', 'Example.COM/note="two\\nlines"\nplain="say \\"hi\\""'],
  ["metadata.labels['app']", 'web'],
  ["metadata.labels['absent']", ''],
  ["metadata.labels['constructor']", ''],
  ["metadata.annotations['Example.COM/note']", 'two\nlines'],
  ['spec.nodeName', 'node-1'],
  ['spec.host', 'node-1'],
  ['spec.serviceAccountName', 'builder'],
  ['status.hostIP', '192.0.2.1'],
  ['status.hostIPs', '192.0.2.1,2001:db8::1'],
  ['status.podIP', '10.1.0.5'],
  ['status.podIPs', '10.1.0.5,fd00::5'],
] as const)
  t.test(`a variable can show ${fieldPath}`, async t => {
    t.equal(podField(pod, { fieldPath }, live), expected)
  })

for (const [name, ref, message] of [
  ['a field that nobody offers', { fieldPath: 'spec.volumes' }, 'unsupported fieldPath: spec.volumes'],
  ['a subscript of another field', { fieldPath: "spec.x['a']" }, "field label does not support subscript: spec.x['a']"],
  ['a subscript that is no key', { fieldPath: "metadata.labels['a b']" }, "invalid key subscript in metadata.labels['a b']"],
  ['another version', { apiVersion: 'v2', fieldPath: 'metadata.name' }, 'unsupported pod version: v2'],
] as const)
  t.test(`${name} is refused`, async t => {
    t.throws(() => podField(pod, ref, live), { message, code: 'container-config', reason: 'CreateContainerConfigError' })
  })

t.test('a file of a volume shows the metadata only', async t => {
  t.equal(metadataField(pod, { fieldPath: 'metadata.uid' }), 'u-1')
  t.throws(() => metadataField(pod, { fieldPath: 'status.podIP' }), { message: 'unsupported fieldPath: status.podIP' })
})

for (const [name, value, expected] of [
  ['quotes and backslashes are escaped', 'a"b\\c', 'k="a\\"b\\\\c"'],
  ['white space gets its letters', '\t\r\n\v\f\b\x07', 'k="\\t\\r\\n\\v\\f\\b\\a"'],
  ['other control characters get two digits', '\x01\x7f', 'k="\\x01\\x7f"'],
  ['printable letters of any script stay', 'grüße 世界 🙂', 'k="grüße 世界 🙂"'],
  ['what is not printable gets four or eight digits', '\u200b\u{e0001}', 'k="\\u200b\\U000e0001"'],
] as const)
  t.test(`in a file of labels ${name}`, async t => {
    t.equal(formatMap({ k: value }), expected)
  })

for (const [name, ref, container, expected] of [
  ['cpu counts in whole cores, rounded up', { resource: 'limits.cpu' }, main, '2'],
  ['a divisor of 1m gives millicores', { resource: 'limits.cpu', divisor: '1m' }, main, '1500'],
  ['memory counts in bytes', { resource: 'limits.memory' }, main, '104857600'],
  ['a divisor of 1Mi gives mebibytes', { resource: 'requests.memory', divisor: '1Mi' }, main, '64'],
  ['a fraction rounds up', { resource: 'requests.memory', divisor: '1G' }, main, '1'],
  ['a divisor of 0 counts as 1', { resource: 'requests.memory', divisor: '0' }, main, '67108864'],
  ['a request that is not set is 0', { resource: 'requests.cpu' }, side, '0'],
  ["a limit that is not set is the node's", { resource: 'limits.memory' }, side, '8589934592'],
  ['so it is for ephemeral storage', { resource: 'limits.ephemeral-storage', divisor: '1G' }, side, '10'],
  ["another container's limit, by name", { resource: 'limits.cpu', containerName: 'main' }, side, '2'],
  ["an init container's limit, by name", { resource: 'limits.memory', containerName: 'setup' }, side, '1024'],
  ['huge pages', { resource: 'limits.hugepages-2Mi', divisor: '1Mi' }, main, '4'],
  ['huge pages have no limit to fall back to', { resource: 'limits.hugepages-2Mi' }, side, '0'],
] as const)
  t.test(`resources: ${name}`, async t => {
    t.equal(resourceField(pod, ref, allocatable, container), expected)
  })

t.test("a limit that the pod sets for all its containers comes before the node's", async t => {
  const limited = { ...pod, spec: { ...pod.spec, resources: { limits: { memory: '1Gi' } } } }
  t.equal(resourceField(limited, { resource: 'limits.memory', divisor: '1Mi' }, allocatable, side), '1024')
})

t.test('a resource or a container that is not there is refused', async t => {
  t.throws(() => resourceField(pod, { resource: 'limits.gpu' }, allocatable, main), {
    message: 'unsupported container resource : limits.gpu',
  })
  t.throws(() => resourceField(pod, { resource: 'limits.cpu', containerName: 'no' }, allocatable), {
    message: 'container no not found',
  })
})
