/**
 * An Express service that verifies the access tokens of the authentication API by itself, with the API's public
 * keys (RFC 9068 section 4). README.md says what that sees and what it cannot.
 */
import { STATUS_CODES } from 'node:http'
import express from 'express'
import { expressjwt, UnauthorizedError } from 'express-jwt'
import jwksRsa from 'jwks-rsa'

const { ISSUER, PORT = '3001' } = process.env
if (!ISSUER) throw new Error('Set ISSUER to the URL of the authentication API, as its tokens have it in iss.')
const AUDIENCE = process.env['AUDIENCE'] || ISSUER

/** How long the API may take for one answer, in milliseconds. */
const PATIENCE = 2_500
/** How long one look at the API's keys serves, whatever key ids the tokens name, in milliseconds. */
const LOOK = 10_000
const MINUTE = 60_000

const jwks = jwksRsa({
  fetcher: lookAtKeys,
  cacheMaxAge: 5 * MINUTE,
  // While the API is away its keys serve on for the lifetime of a token: none that it issued before is refused.
  cacheMaxAgeFallback: 15 * MINUTE,
})

/**
 * The API's keys. jwks-rsa asks for every key id that it does not know, and anybody can make one up: all of them
 * share one look, also a failed one. (Its own `rateLimit` refuses good tokens too, once made-up ones have used it up.)
 */
function lookAtKeys() {
  if (!keys || Date.now() - lookedAt > LOOK) {
    lookedAt = Date.now()
    keys = readKeys()
  }
  return keys
}
/** @type {ReturnType<typeof readKeys> | undefined} */
let keys
let lookedAt = 0

async function readKeys() {
  const { issuer, jwks_uri: uri } = await getJson(`${ISSUER}/.well-known/openid-configuration`)
  // RFC 8414 section 3.3: a document in another's name must not be used.
  if (issuer !== ISSUER) throw new Error(`The API calls itself ${issuer}, and ISSUER is ${ISSUER}.`)
  return getJson(uri)
}

/**
 * @param {string} url
 * @returns {Promise<{ issuer: string, jwks_uri: string, keys: object[] }>} the members that its document has of these
 */
async function getJson(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE) })
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}.`)
  return /** @type {ReturnType<typeof getJson>} */ (answer.json())
}

class KeysUnavailable extends Error {}

/**
 * The key that a token names. Nothing of the token is trusted yet.
 * @type {import('express-jwt').GetVerificationKey}
 */
async function keyOf(_request, token) {
  // RFC 9068 section 4: express-jwt does not look at typ, and an ID token must not pass for an access token.
  const { typ = '', kid } = token?.header ?? {}
  if (!/^(application\/)?at\+jwt$/i.test(typ) || !kid) {
    throw new UnauthorizedError('invalid_token', { message: 'The token is not an access token.' })
  }
  try {
    return (await jwks.getSigningKey(kid)).getPublicKey()
  } catch (cause) {
    if (cause instanceof jwksRsa.SigningKeyNotFoundError) throw new UnauthorizedError('invalid_token', cause)
    throw new KeysUnavailable('The keys of the API cannot be had.', { cause })
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
  else problem(response, 403, 'forbidden', 'You may not do this.')
}

/**
 * RFC 9457.
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
    // RFC 6750 section 3.1: who sends no token is only told how to.
    const reason = error.code === 'credentials_required' ? '' : ' error="invalid_token"'
    response.set('WWW-Authenticate', `Bearer${reason}`)
    return problem(response, 401, 'invalid_token', 'The access token is missing, expired or not valid.')
  }
  console.error(error)
  if (!(error instanceof KeysUnavailable))
    return problem(response, 500, 'internal', 'Something went wrong on our side.')
  response.set('Retry-After', String(LOOK / 1000))
  problem(response, 503, 'unavailable', 'Tokens cannot be checked right now; try again in a moment.')
}
app.use(onError)

const server = app.listen(Number(PORT), (error) => {
  if (error) throw error
  const address = server.address()
  console.log(`The service is at http://localhost:${typeof address === 'object' && address?.port}`)
})
