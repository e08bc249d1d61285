/**
 * Once a run: a MongoDB server for all test files (that of DB where it is set) and keys for them.
 */
import { startDatabase } from '../../dev/LocalDatabase.ts'
import { newSecrets } from '../../dev/Secrets.ts'

export default async function globalSetup() {
  const local = process.env['DB'] ? undefined : await startDatabase(() => undefined)
  process.env['TEST_SERVER'] = process.env['DB'] ?? local!.uri
  const { SIGNING_KEYS, PEPPER, REFRESH_TOKEN_KEY } = newSecrets()
  Object.assign(process.env, { SIGNING_KEYS: JSON.stringify(SIGNING_KEYS), PEPPER, REFRESH_TOKEN_KEY })
  Object.assign(globalThis, { stopTestServer: local?.stop })
}
