import { statfsSync } from 'node:fs'
import t from 'tap'
import type { Pod } from '../../api/types.ts'
import { claimFamilies } from './claim-usage.ts'

const podOf = (name: string, claimName: string): Pod => ({
  metadata: { name, namespace: 'shop' },
  spec: {
    containers: [],
    volumes: [
      { name: 'data', persistentVolumeClaim: { claimName } },
      { name: 'tmp', emptyDir: {} },
    ],
  },
})

t.test('a claim of two pods is told once, one that is nowhere mounted not at all', async t => {
  const dir = t.testdir({})
  const folderOf = (pod: Pod, volume: string) => (pod.metadata.name === 'c' || volume !== 'data' ? undefined : dir)
  const families = await claimFamilies([podOf('a', 'one'), podOf('b', 'one'), podOf('c', 'two')], folderOf)
  t.same(families.map(it => it.name.replace('kubelet_volume_stats_', '')).toSorted(), [
    ...['available_bytes', 'capacity_bytes', 'inodes', 'inodes_free', 'inodes_used', 'used_bytes'],
  ])
  const { blocks, bsize } = statfsSync(dir)
  t.match(families[0]?.samples, [{ labels: { namespace: 'shop', persistentvolumeclaim: 'one' }, value: blocks * bsize }])
  t.ok(families.every(({ samples }) => samples.length === 1))
})
