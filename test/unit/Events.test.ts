/**
 * The catalogue of events, against the code that logs them (docs/events.md: Docs.test.ts). That each is really logged as
 * it says is in test/database/Events.test.ts; that no call names another one is checked by the compiler.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { events, fields } from '../../api/Events.ts'

/** The events that each call of audit(...) and event(...) names, in what is deployed. */
const calls = ['account', 'admin', 'auth', 'mail', 'throttle', 'user'].flatMap((folder) =>
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
