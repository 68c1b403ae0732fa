// What can be asked of the kernel off the sync path: the pieces of one frontend, and everything that differs. Types only.
// A backend that offers this lets `nodelet trace` and `nodelet diff` speak about its kernel objects.
import type { Frontend } from './model.ts'

/** One element or rule as it should be, and as the kernel has it. */
export interface Piece {
  /** The set, map or chain that it is in. */
  readonly where: string
  readonly key: string
  /** Its value, or the rule's target; '' for a member of a set. */
  readonly wanted: string
  /** Undefined when the kernel does not have it. */
  readonly found: string | undefined
}

/** The memory of a client, while it lasts. */
export interface Remembered {
  readonly frontend: string
  /** `address . port` of the endpoint that the client is to have; undefined when nobody holds its number any more. */
  readonly endpoint: string | undefined
  /** How much longer, as the kernel prints it: `2h59m`. */
  readonly expires: string
}

/** What the kernel shows of one frontend. */
export interface Sight {
  /** Where the pieces are, as a person would look for them: `table ip nodelet-proxy`, `iptables -t nat`. */
  readonly place: string
  /** The frontend as it was written; undefined when none has been. */
  readonly written: Frontend | undefined
  readonly pieces: readonly Piece[]
  /** Pieces that were not asked for, since there are many. */
  readonly notAsked: number
  readonly remembered: readonly Remembered[]
}

export interface Difference {
  /** `table ip nodelet-proxy` */
  readonly place: string
  /** Missing: wanted and not there. Foreign: there, and nobody here wants it. Different: there in another form. */
  readonly kind: 'missing' | 'foreign' | 'different'
  /** `chain services`, `element service-ips { 10.96.0.1 . tcp . 80 }` */
  readonly what: string
  readonly wanted: string | undefined
  readonly found: string | undefined
}

export interface Compared {
  readonly differences: readonly Difference[]
  /** Elements, rules, chains and sets that were compared. */
  readonly compared: number
}

export interface Inspector {
  /**
   * Asks for each piece of a frontend by its key, `most` of them, and for what it remembers of a client.
   * @param clients addresses that a client may have sent from, and those that it may have sent to where the frontend has none
   * @throws Fault `kernel-refused`
   */
  look(
    frontend: Frontend,
    clients: { readonly from: readonly string[]; readonly to: readonly string[] },
    most: number,
  ): Promise<Sight>
  /**
   * Lists everything: takes seconds when there is much. Undefined when something was written meanwhile, which would be told as a
   * difference, and while nothing is known to be written: whoever asks may ask again.
   * @throws Fault `kernel-refused`
   */
  diff(): Promise<Compared | undefined>
}
