// containerd's configuration as text: what it says, and the text that says something else with all the rest left as it stands. Pure.
// Knows as much TOML as containerd's own files have: tables, keys, values on one line and lists over several. What came of an edit is
// asked of containerd itself (`containerd config dump`), so a file written in another way is refused and never spoilt.

/** A table by its path; a key and its value as they are written. */
export interface Setting {
  readonly table: readonly string[]
  readonly key: string
  readonly value: string
}

interface Line {
  readonly table: readonly string[]
  readonly key: string | undefined
  readonly isHeader: boolean
}

/** `plugins."io.containerd.grpc.v1.cri".containerd` as its words. */
const toPath = (text: string): readonly string[] =>
  [...text.matchAll(/"([^"]*)"|'([^']*)'|([^.\s"']+)/g)].map(([, double, single, bare]) => double ?? single ?? bare ?? '')

const samePath = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((it, at) => it === b[at])

const brackets = (text: string): number => {
  const bare = text.replaceAll(/"[^"]*"|'[^']*'/g, '').replace(/#.*/, '')
  return bare.split('[').length - bare.split(']').length
}

/** What each line belongs to. */
const readLines = (lines: readonly string[]): readonly Line[] => {
  let table: readonly string[] = []
  let depth = 0
  return lines.map(line => {
    if (depth > 0) {
      depth += brackets(line)
      return { table, key: undefined, isHeader: false }
    }
    const header = /^\s*\[([^[\]]+)\]\s*(#.*)?$/.exec(line)?.[1]
    if (header !== undefined) {
      table = toPath(header)
      return { table, key: undefined, isHeader: true }
    }
    const [, quoted, bare, value = ''] = /^\s*(?:"([^"]+)"|([\w-]+))\s*=\s*(.*)$/.exec(line) ?? []
    const key = quoted ?? bare
    if (key !== undefined) depth += brackets(value)
    return { table, key, isHeader: false }
  })
}

/** The value of a key as it is written, of those on one line. */
export const readValue = (text: string, table: readonly string[], key: string): string | undefined => {
  const lines = text.split('\n')
  const at = readLines(lines).findIndex(it => it.key === key && samePath(it.table, table))
  return at < 0 ? undefined : lines[at]?.replace(/^[^=]*=\s*/, '').trim()
}

const toHeader = (table: readonly string[]): string =>
  `[${table.map(word => (/^[\w-]+$/.test(word) ? word : `"${word}"`)).join('.')}]`

/** The text with one setting changed or added. */
export const withSetting = (text: string, { table, key, value }: Setting): string => {
  const lines = text.split('\n')
  const read = readLines(lines)
  const at = read.findIndex(it => it.key === key && samePath(it.table, table))
  if (at >= 0) {
    const indent = /^\s*/.exec(lines[at] ?? '')?.[0] ?? ''
    // a list may go over several lines
    const following = read.slice(at + 1).findIndex(it => it.key !== undefined || it.isHeader)
    const spans = brackets(lines[at]?.replace(/^[^=]*=/, '') ?? '') > 0 ? (following < 0 ? lines.length - at : following + 1) : 1
    return lines.toSpliced(at, spans, `${indent}${key} = ${value}`).join('\n')
  }
  if (table.length === 0) return [`${key} = ${value}`, ...lines].join('\n')
  const header = read.findIndex(it => it.isHeader && samePath(it.table, table))
  if (header >= 0) {
    const indent = /^\s*/.exec(lines[header] ?? '')?.[0] ?? ''
    return lines.toSpliced(header + 1, 0, `${indent}  ${key} = ${value}`).join('\n')
  }
  return `${text.trimEnd()}\n\n${toHeader(table)}\n  ${key} = ${value}\n`
}

/** What a node needs of containerd. */
export interface ContainerdView {
  readonly version: number
  readonly isCriDisabled: boolean
  readonly systemdCgroup: boolean
  readonly sandboxImage: string | undefined
}

const criTables = (version: number) => {
  const runtime = ['plugins', version >= 3 ? 'io.containerd.cri.v1.runtime' : 'io.containerd.grpc.v1.cri']
  const images = ['plugins', 'io.containerd.cri.v1.images', 'pinned_images']
  return {
    runc: [...runtime, 'containerd', 'runtimes', 'runc'],
    sandbox: version >= 3 ? { table: images, key: 'sandbox' } : { table: runtime, key: 'sandbox_image' },
  }
}

const unquoted = (value: string | undefined): string | undefined => value?.replaceAll(/^["']|["']$/g, '')

const versionOf = (text: string): number => Number(readValue(text, [], 'version') ?? 1)

/** Reads a whole configuration, as `containerd config dump` prints it. */
export const readView = (dump: string): ContainerdView => {
  const version = versionOf(dump)
  const { runc, sandbox } = criTables(version)
  return {
    version,
    isCriDisabled: /["'](io\.containerd\.grpc\.v1\.)?cri["']/.test(readValue(dump, [], 'disabled_plugins') ?? ''),
    systemdCgroup: readValue(dump, [...runc, 'options'], 'SystemdCgroup') === 'true',
    sandboxImage: unquoted(readValue(dump, sandbox.table, sandbox.key)),
  }
}

export interface Wish {
  readonly systemdCgroup?: true
  readonly sandboxImage?: string
  readonly enableCri?: true
}

/**
 * The text that fulfils the wish.
 * @param text of the file; empty when there is none
 * @param dump of what containerd makes of it
 * @returns undefined for a file of version 1 with settings, whose tables have other names
 */
export const withWish = (text: string, dump: string, wish: Wish): string | undefined => {
  const isNew = saysNothing(text)
  const version = isNew ? 2 : versionOf(text)
  if (version < 2) return undefined
  const { runc, sandbox } = criTables(version)
  // A runtime that is named must say its type as well.
  const hasType = readValue(text, runc, 'runtime_type') !== undefined
  const settings: readonly Setting[] = [
    ...(wish.enableCri
      ? [{ table: [], key: 'disabled_plugins', value: withoutCri(readValue(dump, [], 'disabled_plugins')) }]
      : []),
    ...(wish.sandboxImage === undefined ? [] : [{ ...sandbox, value: JSON.stringify(wish.sandboxImage) }]),
    ...(wish.systemdCgroup
      ? [
          ...(hasType ? [] : [{ table: runc, key: 'runtime_type', value: '"io.containerd.runc.v2"' }]),
          { table: [...runc, 'options'], key: 'SystemdCgroup', value: 'true' },
        ]
      : []),
  ]
  return settings.reduce(withSetting, isNew ? withSetting(text, { table: [], key: 'version', value: '2' }) : text)
}

/** No file, or one as Docker's package brings it: of version 1, and nothing in it but that CRI is disabled. */
const saysNothing = (text: string): boolean =>
  versionOf(text) < 2 &&
  readLines(text.split('\n')).every(({ key, isHeader }) => !isHeader && (key === undefined || key === 'disabled_plugins')) &&
  withoutCri(readValue(text, [], 'disabled_plugins')) === '[]'

const withoutCri = (list = '[]'): string => {
  const names = [...list.matchAll(/["']([^"']+)["']/g)].map(([, name = '']) => name)
  return `[${names
    .filter(name => !/^(io\.containerd\.grpc\.v1\.)?cri$/.test(name))
    .map(name => JSON.stringify(name))
    .join(', ')}]`
}
