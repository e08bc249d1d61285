/**
 * Lambdas of discovery: the public keys and where to find them, for services that verify tokens on their own.
 */
import { setting } from '../api/Environment.ts'
import { route } from '../api/Route.ts'

/** Short enough that a new key is known before it signs, long enough to spare a call for each token. */
const CACHEABLE = { 'Cache-Control': 'public, max-age=300' }

/** GET /.well-known/jwks.json (RFC 7517 section 5). */
export const jwks = route({}, async () => ({
  status: 200,
  body: setting('VERIFICATION_KEYS'),
  headers: CACHEABLE,
}))

/** GET /.well-known/openid-configuration (RFC 8414 section 2): what an API Gateway JWT authorizer asks for. */
export const configuration = route({}, async () => {
  const issuer = setting('ISSUER')
  return {
    status: 200,
    body: {
      issuer,
      jwks_uri: `${issuer}/.well-known/jwks.json`,
      id_token_signing_alg_values_supported: ['ES256'],
      subject_types_supported: ['public'],
      response_types_supported: ['token'],
    },
    headers: CACHEABLE,
  }
})
