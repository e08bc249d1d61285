/**
 * The authorizer Lambda (TOKEN type): reads the access token and answers with the caller's IAM policy.
 * API Gateway calls it before every protected route, so it starts fast: the database client is in a chunk of its own,
 * which the first valid token loads.
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
  // oxlint-disable-next-line no-restricted-imports -- a chunk of its own, loaded with the first valid token
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
 * @param event holds the Authorization header: `Bearer <jwt>` (RFC 6750 section 2.1), or the bare JWT as the
 *   tutorial's clients send it
 * @returns the policy over all routes of the caller's roles; `principalId` and `context.id` are the user's id
 * @throws the string "Unauthorized", which API Gateway turns into its 401, for anything but a good token; an Error
 *   when nobody can say whether the token is revoked: API Gateway's AUTHORIZER_CONFIGURATION_ERROR, a 503 here
 */
export const handler = Object.assign(
  (
    event: APIGatewayTokenAuthorizerEvent,
    context?: Pick<Context, 'awsRequestId'>,
  ): Promise<APIGatewayAuthorizerResult> =>
    // Its own id: API Gateway tells an authorizer of this type neither the request's id nor its address.
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
      // API Gateway takes scalars only.
      context: { id: sub, sessionId: sid, roles: roles.join(' '), emailVerified },
    }
  } catch (error) {
    if (error instanceof InvalidToken) audit('authz_token_refused', { reason: error.message })
    else log.error('authorizer failed', { error: loggable(error) })
    if (error instanceof FeedUnavailable) throw error
    // oxlint-disable-next-line no-throw-literal, only-throw-error -- API Gateway compares the text; a stack would only fill the log
    throw 'Unauthorized'
  }
}
