/**
 * An Express service that verifies the authentication API's access tokens itself, with the API's public keys
 * (RFC 9068 section 4). README.md explains what this can and cannot detect.
 */
import { STATUS_CODES } from 'node:http'
import express from 'express'
import { expressjwt, UnauthorizedError } from 'express-jwt'
import jwksRsa from 'jwks-rsa'

const { ISSUER, PORT = '3001' } = process.env
if (!ISSUER)
  throw new Error('Set ISSUER to the URL of the authentication API. It must be the iss of its tokens.')
const AUDIENCE = process.env['AUDIENCE'] || ISSUER

/** How long the API may take to answer, in milliseconds. */
const TIMEOUT = 2_500
/** The least time between two requests for the API's keys, in milliseconds. */
const FETCH_INTERVAL = 10_000
const MINUTE = 60_000

const jwks = jwksRsa({
  fetcher: fetchKeys,
  cacheMaxAge: 5 * MINUTE,
  // While the API is down, its keys are kept for the lifetime of a token, so that no token issued before is
  // refused.
  cacheMaxAgeFallback: 15 * MINUTE,
})

/**
 * Returns the API's keys. jwks-rsa calls this for every key id that it does not know, and anyone can make one
 * up. So all calls within the interval share one request, even a failed one. (With jwks-rsa's own
 * `rateLimit`, made-up key ids can use up the limit, and then valid tokens are refused too.)
 */
function fetchKeys() {
  if (!keys || Date.now() - fetchedAt > FETCH_INTERVAL) {
    fetchedAt = Date.now()
    keys = readKeys()
  }
  return keys
}
/** @type {ReturnType<typeof readKeys> | undefined} */
let keys
let fetchedAt = 0

async function readKeys() {
  const { issuer, jwks_uri: uri } = await getJson(`${ISSUER}/.well-known/openid-configuration`)
  // A document with a different issuer must not be used (RFC 8414 section 3.3).
  if (issuer !== ISSUER) throw new Error(`The API's issuer is ${issuer}, but ISSUER is ${ISSUER}.`)
  return getJson(uri)
}

/**
 * @param {string} url
 * @returns {Promise<{ issuer: string, jwks_uri: string, keys: object[] }>} a document with some of these
 */
async function getJson(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT) })
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}.`)
  return /** @type {ReturnType<typeof getJson>} */ (answer.json())
}

class KeysUnavailable extends Error {}

/**
 * Returns the key that a token names. Nothing in the token is trusted yet.
 * @type {import('express-jwt').GetVerificationKey}
 */
async function keyOf(_request, token) {
  // express-jwt does not check typ, but an ID token must not pass as an access token (RFC 9068 section 4).
  const { typ = '', kid } = token?.header ?? {}
  if (!/^(application\/)?at\+jwt$/i.test(typ) || !kid) {
    throw new UnauthorizedError('invalid_token', { message: 'The token is not an access token.' })
  }
  try {
    return (await jwks.getSigningKey(kid)).getPublicKey()
  } catch (cause) {
    if (cause instanceof jwksRsa.SigningKeyNotFoundError) throw new UnauthorizedError('invalid_token', cause)
    throw new KeysUnavailable("The API's keys are not available.", { cause })
  }
}

const signedIn = expressjwt({
  secret: keyOf,
  algorithms: ['ES256'],
  issuer: ISSUER,
  audience: AUDIENCE,
  clockTolerance: 30,
  getToken: (request) =>
    /^Bearer +(\S+)$/i.exec(request.get('authorization') ?? '')?.[1] ?? request.get('x-access-token'),
})

/** @returns {(request: import('express-jwt').Request, response: express.Response, next: express.NextFunction) => void} */
const withRole = (/** @type {string} */ role) => (request, response, next) => {
  const roles = request.auth?.['roles']
  if (Array.isArray(roles) && roles.includes(role)) next()
  else problem(response, 403, 'forbidden', 'You are not allowed to do this.')
}

/**
 * Sends an RFC 9457 problem.
 * @param {express.Response} response
 * @param {number} status
 * @param {string} code
 * @param {string} detail
 */
function problem(response, status, code, detail) {
  response
    .status(status)
    .type('application/problem+json')
    .send(JSON.stringify({ type: 'about:blank', title: STATUS_CODES[status], status, detail, code }))
}

const app = express()
app.disable('x-powered-by')

app.get('/whoami', signedIn, (/** @type {import('express-jwt').Request} */ request, response) => {
  const { sub: id, sid: sessionId, roles } = request.auth ?? {}
  response.set('Cache-Control', 'no-store').json({ id, sessionId, roles })
})

app.get('/report', signedIn, withRole('admin'), (_request, response) => {
  response.set('Cache-Control', 'no-store').json({ title: 'For admins only' })
})

app.use((_request, response) => problem(response, 404, 'not_found', 'There is nothing here.'))

/** @type {express.ErrorRequestHandler} */
const onError = (error, _request, response, next) => {
  if (response.headersSent) return next(error)
  if (error instanceof UnauthorizedError) {
    // Without a token, the answer must not contain an error code (RFC 6750 section 3.1).
    const reason = error.code === 'credentials_required' ? '' : ' error="invalid_token"'
    response.set('WWW-Authenticate', `Bearer${reason}`)
    return problem(response, 401, 'invalid_token', 'The access token is missing, expired or not valid.')
  }
  console.error(error)
  if (!(error instanceof KeysUnavailable))
    return problem(response, 500, 'internal', 'Something went wrong on our side.')
  response.set('Retry-After', String(FETCH_INTERVAL / 1000))
  problem(response, 503, 'unavailable', 'We cannot verify tokens right now. Try again in a moment.')
}
app.use(onError)

const server = app.listen(Number(PORT), (error) => {
  if (error) throw error
  const address = server.address()
  console.log(`The service is at http://localhost:${typeof address === 'object' && address?.port}`)
})
