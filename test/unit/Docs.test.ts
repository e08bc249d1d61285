/**
 * The pages of docs/: their generated parts are what `npm run docs` makes of the code, and every link leads somewhere.
 */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, normalize } from 'node:path'
import { tsx } from '../../support/project.ts'

const GENERATED = ['errors', 'events', 'limits', 'routes', 'settings'].map((name) => `${name}.md`)

test('the generated parts are what `npm run docs` makes of the code, and stale ones are found', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'docs-'))
  try {
    cpSync('docs', folder, { recursive: true })
    const stale = GENERATED.map((name) => {
      const page = readFileSync(join('docs', name), 'utf8')
      const changed = page.replace(/(<!-- begin: .* -->\n).*?(<!-- end -->)/s, '$1\nnothing\n\n$2')
      expect(changed).not.toBe(page)
      const file = join(folder, `stale-${name}`)
      writeFileSync(file, changed)
      return file
    })
    const { exit, output } = tsx(process.cwd(), ['commands/Docs.ts', '--check', folder])
    expect({ status: await exit, output: output() }).toEqual({
      status: 1,
      output: `Stale: ${stale.join(', ')}. Run \`npm run docs\`.\n`,
    })
  } finally {
    rmSync(folder, { recursive: true })
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
  expect(readFileSync('README.md', 'utf8').trimEnd().split('\n').length).toBeLessThanOrEqual(150)
})
