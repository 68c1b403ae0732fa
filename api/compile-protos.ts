// Compiles the .proto files into the *.gen.json that rpc.ts loads: `node api/compile-protos.ts`, then `npm run fix`.
// Only for developers: the program itself never loads the parser. A test holds the files together.
import { readFile, writeFile } from 'node:fs/promises'
import protobuf from 'protobufjs'

/** Source and result, relative to this folder. */
export const protos = [
  ['cri/runtime.proto', 'cri/runtime.gen.json'],
  ['containerd/events.proto', 'containerd/events.gen.json'],
  ['containerd/tasks.proto', 'containerd/tasks.gen.json'],
] as const

/** The schema of one .proto file of this folder, field names in camelCase. */
export const compileProto = async (path: string): Promise<object> =>
  protobuf.parse(await readFile(new URL(path, import.meta.url), 'utf8')).root.toJSON()

if (import.meta.main) {
  for (const [source, result] of protos) {
    await writeFile(new URL(result, import.meta.url), `${JSON.stringify(await compileProto(source), null, 2)}\n`)
  }
}
