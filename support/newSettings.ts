import { publicKeys } from '../auth/Tokens.ts'
import { newSecrets } from '../plugin/Secrets.ts'

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
    SMTP_URL: 'smtp://127.0.0.1:1',
    MAIL_FROM: 'Example <no-reply@auth.test>',
    PRODUCT_NAME: 'Example',
    APP_URL: 'https://app.test',
    MAIL_FUNCTION_URL: 'http://127.0.0.1:1/2015-03-31/functions/auth-dev-mail/invocations',
    REGISTRATION: 'open',
    EMAIL_VERIFICATION: 'optional',
    // All tests come from one address.
    LIMITS: JSON.stringify({
      loginsPerAddress: 1_000_000,
      registrationsPerAddress: 1_000_000,
      refreshesPerSession: 10_000,
    }),
    POWERTOOLS_LOG_LEVEL: 'SILENT',
  }
}
