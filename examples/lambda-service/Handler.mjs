/**
 * Lambdas behind an authorizer: it has verified the token, and these only ask who calls.
 */

/**
 * The caller as the gateway hands it over: the context of VerifyToken, where roles is text, or the claims of the
 * token, as API Gateway's JWT authorizer passes them on.
 * @param {Event} event
 * @returns {{ id: string, sessionId: string, roles: string[] }}
 */
function callerOf({ requestContext: { authorizer } }) {
  // A route that has lost its authorizer must not answer.
  if (!authorizer) throw new Error('This route has no authorizer.')
  const { claims } = authorizer
  return claims
    ? { id: claims.sub, sessionId: claims.sid, roles: Array.isArray(claims.roles) ? claims.roles : [] }
    : {
        id: authorizer.id,
        sessionId: authorizer.sessionId,
        roles: authorizer.roles.split(' ').filter(Boolean),
      }
}

/**
 * GET /whoami: for everybody who is signed in.
 * @param {Event} event
 */
export const whoami = async (event) => answer(200, callerOf(event))

/**
 * GET /report: for admins. What a role may do here is known here: neither authorizer looks at it.
 * @param {Event} event
 */
export const report = async (event) =>
  callerOf(event).roles.includes('admin')
    ? answer(200, { title: 'For admins only' })
    : answer(403, FORBIDDEN, 'application/problem+json')

/** RFC 9457, as the API's own problems are. */
const FORBIDDEN = {
  type: 'about:blank',
  title: 'Forbidden',
  status: 403,
  detail: 'You may not do this.',
  code: 'forbidden',
}

/** @param {number} statusCode @param {object} body */
const answer = (statusCode, body, type = 'application/json') => ({
  statusCode,
  headers: { 'Content-Type': type, 'Cache-Control': 'no-store' },
  body: JSON.stringify(body),
})

/** @typedef {import('aws-lambda').APIGatewayProxyEvent} Event */
