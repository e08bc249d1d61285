/**
 * The catalogue of events, against the code that logs them and the page that lists them. That each is really logged as
 * it says is in test/database/Events.test.ts; that no call names another one is checked by the compiler.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { events, fields } from '../../api/Events.ts'
import { tsx } from '../../support/project.ts'

/** The events that each call of audit(...) and event(...) names, in what is deployed. */
const calls = ['account', 'auth', 'mail', 'throttle', 'user'].flatMap((folder) =>
  readdirSync(folder)
    .map((file) => join(folder, file))
    .flatMap((file) =>
      // Up to the details, or the end of the call.
      [...readFileSync(file, 'utf8').matchAll(/\b(?:audit|event)\(([^,)]*)[,)]/g)].map(([, event = '']) => ({
        file,
        named: [...event.matchAll(/'(\w+)'/g)].map(([, name]) => name),
      })),
    ),
)

test('every call names an event of the catalogue, and every event is named by a call', () => {
  expect(calls.filter(({ named }) => named.length === 0)).toEqual([])
  expect(new Set(calls.flatMap(({ named }) => named))).toEqual(new Set(Object.keys(events)))
})

test('every field that is explained is held by a line', () => {
  const held = Object.values(events).flatMap(([, holds]): readonly string[] => holds)
  expect(new Set(held.map((name) => name.replace('?', '')))).toEqual(new Set(Object.keys(fields)))
})

test('docs/events.md is what `npm run docs` makes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'events-'))
  try {
    const file = join(folder, 'events.md')
    const { exit, output } = tsx(process.cwd(), ['commands/EventsDoc.ts', file])
    expect({ status: await exit, output: output() }).toEqual({ status: 0, output: '' })
    expect(readFileSync('docs/events.md', 'utf8')).toBe(readFileSync(file, 'utf8'))
  } finally {
    rmSync(folder, { recursive: true })
  }
})
