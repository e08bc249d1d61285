import { publicKeys } from '../../auth/Tokens.ts'
import { newSecrets } from '../../dev/Secrets.ts'

/** The settings of a deployment with new keys; no database is at DB. */
export function newSettings() {
  const { SIGNING_KEYS, PEPPER, REFRESH_TOKEN_KEY } = newSecrets()
  return {
    DB: 'mongodb://127.0.0.1:1/auth',
    SIGNING_KEYS: JSON.stringify(SIGNING_KEYS),
    VERIFICATION_KEYS: JSON.stringify(publicKeys(SIGNING_KEYS)),
    PEPPER,
    REFRESH_TOKEN_KEY,
    ISSUER: 'https://auth.test',
    AUDIENCE: 'https://api.test',
    API_ID: 'abcdef1234',
    CORS_ORIGIN: '*',
    BCRYPT_COST: '10',
    PASSWORD_MIN_LENGTH: '8',
    POWERTOOLS_LOG_LEVEL: 'SILENT',
  }
}
