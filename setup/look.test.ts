import t from 'tap'
import { toListening } from './look.ts'
import { mountsBelow } from './scan.ts'

t.test('ports that somebody listens at, of both families and whatever address', async t => {
  const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2808 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1
   1: 0100007F:1F90 0100007F:A5B2 01 00000000:00000000 00:00000000 00000000     0        0 101 1
  12: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1
`
  t.same(toListening(tcp), [10_248, 22], 'not those of connections')
  const tcp6 = `  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:280A 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1
`
  t.same(toListening(tcp6), [10_250])
  t.same(toListening(''), [])
})

t.test('mounts of pods that are left', async t => {
  const line = (point: string) => `36 35 98:0 / ${point} rw,noatime master:1 - tmpfs tmpfs rw`
  const mountinfo = ['/', '/var/lib/kubelet', '/var/lib/kubelet/pods/a/volumes/v', '/var/lib/kubelet/podsx'].map(line).join('\n')
  t.same(mountsBelow(mountinfo, '/var/lib/kubelet/pods'), ['/var/lib/kubelet/pods/a/volumes/v'])
})
