/**
 * Once a run: a MongoDB server for all test files, that of DB where it is set, and what several files share.
 */
import { startDatabase } from '../../local/Database.ts'
import { newSettings } from '../../support/newSettings.ts'
import { serveShared } from './shared.ts'

export default async function globalSetup() {
  const local = process.env['DB'] ? undefined : await startDatabase(() => undefined)
  process.env['TEST_SERVER'] = process.env['DB'] ?? local!.uri
  process.env['TEST_SETTINGS'] = JSON.stringify(newSettings())
  const shared = await serveShared()
  process.env['SHARED'] = shared.url
  Object.assign(globalThis, {
    endTests: async () => {
      await shared.stop()
      await local?.stop()
    },
  })
}
