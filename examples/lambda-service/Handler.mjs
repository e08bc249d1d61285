/**
 * Lambda functions behind an authorizer. It has already verified the token, so they only read who the caller
 * is.
 */

/**
 * Reads the caller from the event: either the context of VerifyToken, where roles is a string, or the claims
 * of the token, which API Gateway's JWT authorizer passes on.
 * @param {Event} event
 * @returns {{ id: string, sessionId: string, roles: string[] }}
 */
function callerOf({ requestContext: { authorizer } }) {
  // If the authorizer was removed by mistake, the route must not answer.
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
 * GET /whoami: for everyone who is signed in.
 * @param {Event} event
 */
export const whoami = async (event) => answer(200, callerOf(event))

/**
 * GET /report: for admins. The service decides itself what a role may do: neither authorizer checks roles.
 * @param {Event} event
 */
export const report = async (event) =>
  callerOf(event).roles.includes('admin')
    ? answer(200, { title: 'For admins only' })
    : answer(403, FORBIDDEN, 'application/problem+json')

/** An RFC 9457 problem, like the API's own. */
const FORBIDDEN = {
  type: 'about:blank',
  title: 'Forbidden',
  status: 403,
  detail: 'You are not allowed to do this.',
  code: 'forbidden',
}

/** @param {number} statusCode @param {object} body */
const answer = (statusCode, body, type = 'application/json') => ({
  statusCode,
  headers: { 'Content-Type': type, 'Cache-Control': 'no-store' },
  body: JSON.stringify(body),
})

/** @typedef {import('aws-lambda').APIGatewayProxyEvent} Event */
