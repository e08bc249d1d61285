/**
 * Before each test file: the settings of a deployment, with a database of the file's own.
 */
import { publicKeys } from '../../auth/Tokens.ts'
import { databaseUri } from './database.ts'

process.env['VERIFICATION_KEYS'] = JSON.stringify(publicKeys(JSON.parse(process.env['SIGNING_KEYS']!)))
process.env['DB'] = databaseUri()
process.env['ISSUER'] = 'https://auth.test'
process.env['AUDIENCE'] = 'https://api.test'
process.env['CORS_ORIGIN'] = '*'
// The least that bcrypt takes: what these tests ask does not depend on it.
process.env['BCRYPT_COST'] = '4'
process.env['PASSWORD_MIN_LENGTH'] = '8'
process.env['POWERTOOLS_LOG_LEVEL'] = 'SILENT'
