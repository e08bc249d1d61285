/**
 * Handlers for discovery: the public keys and where to find them, for services that verify tokens themselves.
 */
import { route, routes } from '../api/Route.ts'

/**
 * Short enough that services know a new key before it signs, long enough that they need no request per token.
 */
const CACHEABLE = { 'Cache-Control': 'public, max-age=300' }

/** GET /.well-known/jwks.json (RFC 7517 section 5). */
export const jwks = route({ settings: ['VERIFICATION_KEYS'] }, async ({ settings }) => ({
  status: 200,
  body: settings.VERIFICATION_KEYS,
  headers: CACHEABLE,
}))

/** GET /.well-known/openid-configuration (RFC 8414 section 2), which API Gateway's JWT authorizer reads. */
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

/** Both routes as one Lambda function. */
export const discovery = routes({
  'GET /.well-known/jwks.json': jwks,
  'GET /.well-known/openid-configuration': configuration,
})
