// Errors of the operating system, told by their code and not by their text. Pure.

/** True for an error of the operating system with one of these codes, such as `ENOENT`. */
export const isErrno = (error: unknown, ...codes: readonly string[]): boolean =>
  error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '')

/** The value, or undefined when the file it is about is not there. */
export const unlessMissing = async <T>(wanted: Promise<T>): Promise<T | undefined> => {
  try {
    return await wanted
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined
    throw error
  }
}
