/**
 * What a release publishes: the section of its version in the changelog (.github/workflows/release.yml), from
 * actions that are pinned.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const changelog = `# Changelog

## Unreleased

### Added

- Not released yet.

## [1.10.0] - 2026-02-01

- Ten.

## 1.1.0

### Fixed

- One.

## 1.0.0
`

const folder = mkdtempSync(join(tmpdir(), 'release-'))
const file = join(folder, 'CHANGELOG.md')
writeFileSync(file, changelog)
afterAll(() => rmSync(folder, { recursive: true }))

const sectionOf = (version: string) => {
  const { status, stdout } = spawnSync('bash', ['.ci/changelog-section', version, file], { encoding: 'utf8' })
  return { status, text: stdout.trim() }
}

test.each([
  { version: '1.10.0', want: { status: 0, text: '- Ten.' } },
  { version: '1.1.0', want: { status: 0, text: '### Fixed\n\n- One.' } },
  { version: '1.0.0', want: { status: 1, text: '' } },
  { version: '1.1', want: { status: 1, text: '' } },
  { version: '1x1.0', want: { status: 1, text: '' } },
  { version: '2.0.0', want: { status: 1, text: '' } },
])('the notes of $version are its section of the changelog; none is a failure', ({ version, want }) => {
  expect(sectionOf(version)).toEqual(want)
})

test.each(readdirSync('.github/workflows'))(
  '%s pins every action by commit and names its version',
  (name) => {
    const uses = readFileSync(join('.github/workflows', name), 'utf8').match(/\buses:.*/g) ?? []
    expect(uses.length).toBeGreaterThan(0)
    expect(uses.filter((line) => !/@[\da-f]{40} # v\d+\.\d+\.\d+$/.test(line))).toEqual([])
  },
)
