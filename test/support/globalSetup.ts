/**
 * Once a run: a MongoDB server for all test files, that of DB where it is set.
 */
import { startDatabase } from '../../local/Database.ts'

export default async function globalSetup() {
  const local = process.env['DB'] ? undefined : await startDatabase(() => undefined)
  process.env['TEST_SERVER'] = process.env['DB'] ?? local!.uri
  Object.assign(globalThis, { stopTestServer: local?.stop })
}
