// The order of texts, by code unit: the same on every machine, whatever its locale. Pure.

/** For sort(): negative when `a` comes first. */
export const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
