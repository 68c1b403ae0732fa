// Gives the endpoints of a frontend their numbers 0..n-1 in the kernel's map, moving as few as possible. Pure.
// Those that stay keep their numbers, new ones fill the holes, and only what lies past the new end moves.

/** The new order; each text of `wanted` once. */
export const arrange = (before: readonly string[], wanted: readonly string[]): readonly string[] => {
  if (before.length === 0) return wanted
  const left = new Set(wanted)
  const places: (string | undefined)[] = before.slice(0, left.size).map(text => (left.delete(text) ? text : undefined))
  // What is wanted but stood past the new end, or is new, goes into the holes in order and then to the end.
  const waiting = [...left]
  const arranged = places.map(text => text ?? waiting.shift()!)
  return [...arranged, ...waiting]
}

/**
 * Numbers that stay with an endpoint for as long as it lives, holes included: what a client's memory points to.
 * A number whose endpoint has gone may be given to a new one.
 */
export const keepSlots = (
  before: readonly (string | undefined)[],
  wanted: readonly string[],
): readonly (string | undefined)[] => {
  const left = new Set(wanted)
  const slots = before.map(text => (text !== undefined && left.delete(text) ? text : undefined))
  for (const text of left) {
    const hole = slots.indexOf(undefined)
    if (hole < 0) slots.push(text)
    else slots[hole] = text
  }
  while (slots.length > 0 && slots.at(-1) === undefined) slots.pop()
  return slots
}
