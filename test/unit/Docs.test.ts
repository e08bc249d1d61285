/**
 * The pages of docs/: their generated parts are what `npm run docs` makes of the code, and every link leads somewhere.
 */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, normalize } from 'node:path'
import { tsx } from '../../support/project.ts'

const folder = mkdtempSync(join(tmpdir(), 'docs-'))
cpSync('docs', folder, { recursive: true })
afterAll(() => rmSync(folder, { recursive: true }))

async function docs(...args: string[]) {
  const { exit, output } = tsx(process.cwd(), ['commands/Docs.ts', ...args, folder])
  return { status: await exit, output: output() }
}

const GENERATED = ['errors', 'events', 'limits', 'routes', 'settings'].map((name) => `${name}.md`)

test('the generated parts are what `npm run docs` makes of the code', async () => {
  expect(await docs('--check')).toEqual({ status: 0, output: '' })
})

test('parts that are stale are named, and made anew', async () => {
  for (const name of GENERATED) {
    const page = readFileSync(join(folder, name), 'utf8')
    const stale = page.replace(/(<!-- begin: .* -->\n).*?(<!-- end -->)/s, '$1\nnothing\n\n$2')
    expect(stale).not.toBe(page)
    writeFileSync(join(folder, name), stale)
  }
  const { status, output } = await docs('--check')
  expect({ status, named: GENERATED.filter((name) => output.includes(name)) }).toEqual({
    status: 1,
    named: GENERATED,
  })
  expect(await docs()).toEqual({ status: 0, output: '' })
  for (const name of GENERATED) {
    expect(readFileSync(join(folder, name), 'utf8')).toBe(readFileSync(join('docs', name), 'utf8'))
  }
})

const pages = [
  ...readdirSync('.').filter((name) => name.endsWith('.md')),
  ...['docs', 'docs/recipes', 'bench', 'examples/express-service', 'examples/lambda-service'].flatMap(
    (name) =>
      readdirSync(name)
        .filter((file) => file.endsWith('.md'))
        .map((file) => join(name, file)),
  ),
]

/** As GitHub makes them. */
const anchors = (page: string) =>
  (page.replaceAll(/^```.*?^```/gms, '').match(/^#+ .+$/gm) ?? []).map((heading) =>
    heading
      .replace(/^#+ /, '')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-'),
  )

test.each(pages)('every link of %s leads to a file, and to a heading of it', (page) => {
  const text = readFileSync(page, 'utf8')
  const broken = [...text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)].filter(
    ([, path = '', anchor]) => {
      const target = path === '' ? page : normalize(join(dirname(page), path))
      if (!existsSync(target)) return true
      return anchor !== undefined && !anchors(readFileSync(target, 'utf8')).includes(anchor)
    },
  )
  expect(broken.map(([link]) => link)).toEqual([])
})

test('the README has at most 150 lines', () => {
  expect(readFileSync('README.md', 'utf8').split('\n').length).toBeLessThanOrEqual(151)
})
