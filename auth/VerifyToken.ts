/**
 * The Lambda authorizer (TOKEN type): verifies the access token and returns the caller's IAM policy. API
 * Gateway calls it before every protected route, so it has to start fast. The database client is in a
 * separate chunk that is loaded with the first valid token.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html
 */
import type { APIGatewayAuthorizerResult, APIGatewayTokenAuthorizerEvent, Context } from 'aws-lambda'
import { atColdStart, settingsOf } from '../api/Environment.ts'
import { audit } from '../api/Events.ts'
import type { Declaration } from '../api/Route.ts'
import { identify, inRequest, log, loggable } from '../lib/Log.ts'
import { policyFor } from './Permissions.ts'
import { FeedUnavailable, revocationFeed } from './RevocationFeed.ts'
import { InvalidToken, verifier } from './Tokens.ts'

const names = ['DB', 'ISSUER', 'AUDIENCE', 'VERIFICATION_KEYS', 'API_ID'] as const

const authorizer = atColdStart(() => {
  const { DB, ISSUER, AUDIENCE, VERIFICATION_KEYS, API_ID } = settingsOf(names)
  // oxlint-disable-next-line no-restricted-imports -- a separate chunk, loaded with the first valid token
  const source = async () => (await import('./Revocations.ts')).revocations(DB)
  return {
    apiId: API_ID,
    verify: verifier(VERIFICATION_KEYS, { issuer: ISSUER, audience: AUDIENCE }),
    isRevoked: revocationFeed({
      revocationsSince: async (since, limit) => (await source()).revocationsSince(since, limit),
      isRevoked: async (token) => (await source()).isRevoked(token),
    }),
  }
})

/**
 * Authorizes a request.
 * @param event contains the Authorization header: `Bearer <jwt>` (RFC 6750 section 2.1), or just the JWT,
 *   which some clients send
 * @returns a policy for all routes of the caller's roles. `principalId` and `context.id` are the user's id
 * @throws the string "Unauthorized" for anything but a valid token. API Gateway turns it into a 401
 * @throws Error if it cannot find out whether the token is revoked. For API Gateway, that is an
 *   AUTHORIZER_CONFIGURATION_ERROR, which our gateway responses turn into a 503
 */
export const handler = Object.assign(
  (
    event: APIGatewayTokenAuthorizerEvent,
    context?: Pick<Context, 'awsRequestId'>,
  ): Promise<APIGatewayAuthorizerResult> =>
    // The authorizer's own request id. API Gateway passes it neither the id nor the address of the client's
    // request.
    inRequest({ ...(context && { requestId: context.awsRequestId }) }, () => authorize(event)),
  { declaration: { settings: names } satisfies Declaration },
)

async function authorize(event: APIGatewayTokenAuthorizerEvent): Promise<APIGatewayAuthorizerResult> {
  const { verify, isRevoked, apiId } = authorizer()
  try {
    const token = event.authorizationToken.replace(/^Bearer +/i, '')
    const now = new Date()
    const claims = verify(token, now)
    identify({ userId: claims.sub, sessionId: claims.sid })
    if (await isRevoked(claims, now)) throw new InvalidToken('revoked or outdated')
    const { sub, sid, roles, email_verified: emailVerified } = claims
    return {
      principalId: sub,
      policyDocument: policyFor(roles, event.methodArn, apiId),
      // API Gateway accepts only scalars here.
      context: { id: sub, sessionId: sid, roles: roles.join(' '), emailVerified },
    }
  } catch (error) {
    if (error instanceof InvalidToken) audit('authz_token_refused', { reason: error.message })
    else log.error('authorizer failed', { error: loggable(error) })
    if (error instanceof FeedUnavailable) throw error
    // oxlint-disable-next-line no-throw-literal, only-throw-error -- API Gateway compares the text, and an Error would only add a stack to the log
    throw 'Unauthorized'
  }
}
