// What runs in each VM of test/vm/lab.itest.ts, as root: the machine's name, its address, its way out, the token by which machines join; then
// the names of the nodes for the control plane, and the control plane's address for a node.
import { describe } from '../../../host/fault.ts'
import { journal } from './join-node.ts'
import { controlPlaneChecks, nodeChecks, prepare } from './lab.ts'
import { say } from './report.ts'

const [name = '', address = '', gateway = '', token = '', ...words] = process.argv.slice(2)

const life = async (): Promise<void> => {
  if (!(await prepare(name, address, gateway))) throw new Error(`${name} is not fit to be a node`)
  if (name === 'control-plane') await controlPlaneChecks(address, token, words)
  else await nodeChecks(name, words[0] ?? '', token)
}

process.exitCode = await life().then(
  () => 0,
  async error => {
    say(`${describe(error)}\n${await journal('kubelet', 40)}`)
    return 1
  },
)
