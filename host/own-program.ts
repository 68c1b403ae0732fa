// How this program was started, and how to start it once more: Node with a file of the sources or the bundle, or one executable.
import { basename } from 'node:path'
import { isSea } from 'node:sea'

/** The command line without arguments: with CNI_COMMAND in its environment it is the plugin, with `x509` behind it makes keys. */
export const ownCommand = (): readonly string[] => (isSea() ? [process.execPath] : [process.execPath, process.argv[1] ?? ''])

/** The last part of the path by which the program was called; bin/nodelet hands on by which it was itself. */
export const calledAs = (): string =>
  isSea() ? basename(process.argv[1] ?? 'nodelet') : (process.env['NODELET_CALLED_AS'] ?? 'nodelet')
