/**
 * docs/security.md, complete, and true where a program can tell; and the tests that it, SECURITY.md and docs/attacks.md
 * name.
 */
import { existsSync, readFileSync } from 'node:fs'
import { readRoutes } from '../../commands/Routes.ts'
import { limits } from '../../api/Settings.ts'

const doc = readFileSync('docs/security.md', 'utf8')

/** The requirements of OWASP ASVS 5.0.0 at levels 1 and 2, with their level. */
const requirements = {
  ...levels(1, '6.1.1 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.6 6.2.7 6.2.8 6.3.1 6.3.2 6.4.1 6.4.2'),
  ...levels(
    2,
    '6.1.2 6.1.3 6.2.9 6.2.10 6.2.11 6.2.12 6.3.3 6.3.4 6.4.3 6.4.4 6.5.1 6.5.2 6.5.3 6.5.4 6.5.5',
  ),
  ...levels(2, '6.6.1 6.6.2 6.6.3 6.8.1 6.8.2 6.8.3 6.8.4'),
  ...levels(1, '7.2.1 7.2.2 7.2.3 7.2.4 7.4.1 7.4.2'),
  ...levels(2, '7.1.1 7.1.2 7.1.3 7.3.1 7.3.2 7.4.3 7.4.4 7.4.5 7.5.1 7.5.2 7.6.1 7.6.2'),
  ...levels(1, '9.1.1 9.1.2 9.1.3 9.2.1'),
  ...levels(2, '9.2.2 9.2.3 9.2.4'),
}

function levels(level: number, ids: string): Record<string, number> {
  return Object.fromEntries(ids.split(' ').map((id) => [id, level]))
}

const rows = doc
  .split(/^#### /m)
  .slice(1)
  .map((section) => {
    const [text = ''] = section.split(/^#{1,3} /m)
    const [, id = '', asksFor = '', level, holds = '', rest = ''] =
      /^(\d+\.\d+\.\d+) (.+)\n\nLevel (\d): \*\*([^*]+)\*\*\.([^]*)$/.exec(text) ?? []
    const [how = '', tests = ''] = rest.split(/^- /m, 2).map((part) => part.trim())
    return { id, level: Number(level), asksFor, holds, how, tests }
  })

/** `file` "sentence", "sentence" */
const cited = [
  ...[doc, ...['SECURITY.md', 'docs/attacks.md'].map((file) => readFileSync(file, 'utf8'))]
    .join('')
    .matchAll(/`(test\/[\w/.]+)`((?:,? "[^"]+")*)/g),
].map(([, file = '', sentences = '']) => ({
  file,
  sentences: [...sentences.matchAll(/"([^"]+)"/g)].map(([, sentence = '']) => sentence),
}))

test('every requirement has one section, with its level', () => {
  expect(rows.map(({ id }) => id)).toEqual([...new Set(rows.map(({ id }) => id))])
  expect(Object.fromEntries(rows.map(({ id, level }) => [id, level]))).toEqual(requirements)
})

test.each(rows)('$id says whether it holds, and how or why not', ({ asksFor, holds, how, tests }) => {
  expect(['yes', 'in part', 'no', 'not yet', 'n/a']).toContain(holds)
  expect([asksFor, how]).not.toContain('')
  const isShown = /^(`test\/|none: \w)/.test(tests)
  // What holds is shown by a test, or it is said why there can be none.
  expect(isShown || !['yes', 'in part'].includes(holds)).toBe(true)
})

test('what does not hold is named before the list', () => {
  const summary = /\*\*What does not hold at level 2:\*\*[^]*?\n\n/.exec(doc)![0]
  const named = (text = '') => text.match(/\d+\.\d+\.\d+/g)?.toSorted()
  const which = (wanted: string) => rows.flatMap(({ id, holds }) => (holds === wanted ? [id] : [])).toSorted()
  const [no, partly, later] = summary.split(/in part|not yet/)
  expect([named(no), named(partly), named(later)]).toEqual([which('no'), which('in part'), which('not yet')])
})

test.each([...new Set(cited.map(({ file }) => file))])(
  '%s is there, with the sentences that are named',
  (file) => {
    const text = existsSync(file) ? readFileSync(file, 'utf8') : undefined
    expect(text).toBeDefined()
    const sentences = cited
      .filter((citation) => citation.file === file)
      .flatMap((citation) => citation.sentences)
    expect(sentences.filter((sentence) => !text!.includes(sentence))).toEqual([])
  },
)

test('every file that is named is there', () => {
  const files = [
    ...doc.matchAll(/`((?:account|api|auth|commands|lib|local|mail|plugin|throttle|user)\/\w+\.ts)`/g),
  ].map(([, file = '']) => file)
  expect(files.length).toBeGreaterThan(5)
  expect(files.filter((file) => !existsSync(file))).toEqual([])
})

test('every limit is in the table of docs/limits.md, with its default and the most that it can be', () => {
  const table = readFileSync('docs/limits.md', 'utf8')
  const number = (value: number) => value.toLocaleString('en')
  for (const [name, [normal, most]] of Object.entries(limits)) {
    const row = new RegExp(`^\\| \`${name}\` .*\\| ${number(normal)} +\\| ${number(most)} +\\|$`, 'm')
    expect(table).toMatch(row)
  }
})

test('every function that can sign is among the ways to sign in, and no other', () => {
  const routes = readRoutes()
    .filter(({ declaration }) => declaration.settings.includes('SIGNING_KEYS'))
    .map(({ key }) => key)
  const [list = ''] = doc.split('## All ways to sign in')[1]!.split('What gives no session')
  const ways = [...list.matchAll(/^### `(\w+ \/[^`]+)`$/gm)].map(([, way]) => way)
  expect(new Set(ways)).toEqual(new Set(routes))
})
