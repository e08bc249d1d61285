/**
 * Before each test file: the settings of a deployment, with a database of the file's own.
 */
import { databaseUri } from './database.ts'
import { newSettings } from '../../support/newSettings.ts'

Object.assign(process.env, newSettings(), {
  DB: databaseUri(),
  // The least that bcrypt takes: what these tests ask does not depend on it.
  BCRYPT_COST: '4',
})
