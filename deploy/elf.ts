// An ELF program without what only debuggers and linkers read: symbols and section headers, a fifth of Node's size. Pure.
// Done here and not by strip(1), which knows no program of another architecture and is not on every machine that builds.
// Follows elf(5): what the kernel and the dynamic linker need is what the program headers name.

const identity = { magic: Buffer.from([0x7f, 0x45, 0x4c, 0x46]), class64: 2, littleEndian: 1 } as const
// where the fields of a 64-bit header, and of a program header, stand
const header = { programs: 32, sections: 40, programSize: 54, programCount: 56, sectionCount: 60, sectionNames: 62 } as const
const program = { offset: 8, fileSize: 32 } as const

/**
 * What of the file is loaded.
 * @throws Error when it is no 64-bit little-endian ELF file
 */
export const stripElf = (file: Buffer): Buffer => {
  const isOne = file.subarray(0, 4).equals(identity.magic) && file[4] === identity.class64 && file[5] === identity.littleEndian
  if (!isOne) throw new Error('not a 64-bit little-endian ELF file')
  const first = Number(file.readBigUInt64LE(header.programs))
  const size = file.readUInt16LE(header.programSize)
  const ends = Array.from({ length: file.readUInt16LE(header.programCount) }, (_, index) => {
    const at = first + index * size
    return Number(file.readBigUInt64LE(at + program.offset) + file.readBigUInt64LE(at + program.fileSize))
  })
  const stripped = Buffer.from(file.subarray(0, Math.max(...ends)))
  stripped.writeBigUInt64LE(0n, header.sections)
  stripped.writeUInt16LE(0, header.sectionCount)
  stripped.writeUInt16LE(0, header.sectionNames)
  return stripped
}
