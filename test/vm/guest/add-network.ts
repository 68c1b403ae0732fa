// The network of the machine, as a service of its own that comes before what needs it at boot.
import { addNetwork } from './node.ts'

await addNetwork()
