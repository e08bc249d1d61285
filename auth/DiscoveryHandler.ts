/**
 * Lambdas of discovery: the public keys and where to find them, for services that verify tokens on their own.
 */
import { route, routes } from '../api/Route.ts'

/** Short enough that a new key is known before it signs, long enough to spare a call for each token. */
const CACHEABLE = { 'Cache-Control': 'public, max-age=300' }

/** GET /.well-known/jwks.json (RFC 7517 section 5). */
export const jwks = route({ settings: ['VERIFICATION_KEYS'] }, async ({ settings }) => ({
  status: 200,
  body: settings.VERIFICATION_KEYS,
  headers: CACHEABLE,
}))

/** GET /.well-known/openid-configuration (RFC 8414 section 2): what an API Gateway JWT authorizer asks for. */
export const configuration = route({ settings: ['ISSUER'] }, async ({ settings: { ISSUER: issuer } }) => ({
  status: 200,
  body: {
    issuer,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    id_token_signing_alg_values_supported: ['ES256'],
    subject_types_supported: ['public'],
    response_types_supported: ['token'],
  },
  headers: CACHEABLE,
}))

/** The Lambda of both. */
export const discovery = routes({
  'GET /.well-known/jwks.json': jwks,
  'GET /.well-known/openid-configuration': configuration,
})
