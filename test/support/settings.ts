/**
 * Before each test file: the settings of a deployment, with a database of the file's own.
 */
import { databaseUri } from './database.ts'

Object.assign(process.env, JSON.parse(process.env['TEST_SETTINGS']!), {
  DB: databaseUri(),
  // The least that bcrypt takes: what these tests ask does not depend on it.
  BCRYPT_COST: '4',
})
