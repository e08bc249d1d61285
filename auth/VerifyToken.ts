/**
 * The authorizer Lambda (TOKEN type): reads the access token and answers with the caller's IAM policy.
 * API Gateway calls it before every protected route, so it starts fast: no mongoose here.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html
 */
import type { APIGatewayAuthorizerResult, APIGatewayTokenAuthorizerEvent } from 'aws-lambda'
import { setting } from '../lib/Config.ts'
import { log, loggable } from '../lib/Log.ts'
import { policyFor } from './Permissions.ts'
import { InvalidToken, verifier } from './Tokens.ts'

const verify = verifier(setting('VERIFICATION_KEYS'), {
  issuer: setting('ISSUER'),
  audience: setting('AUDIENCE'),
})

/**
 * @param event holds the Authorization header: `Bearer <jwt>` (RFC 6750 section 2.1), or the bare JWT as the
 *   tutorial's clients send it
 * @returns the policy over all routes of the caller's roles; `principalId` and `context.id` are the user's id
 * @throws the string "Unauthorized", which API Gateway turns into its 401, for anything but a good token
 */
export async function handler(event: APIGatewayTokenAuthorizerEvent): Promise<APIGatewayAuthorizerResult> {
  try {
    const token = event.authorizationToken.replace(/^Bearer +/i, '')
    const { sub, sid, roles } = verify(token, new Date())
    return {
      principalId: sub,
      policyDocument: policyFor(roles, event.methodArn),
      // API Gateway takes scalars only.
      context: { id: sub, sessionId: sid, roles: roles.join(' ') },
    }
  } catch (error) {
    if (error instanceof InvalidToken) log.info('token refused', { reason: error.message })
    else log.error('authorizer failed', { error: loggable(error) })
    // oxlint-disable-next-line no-throw-literal, only-throw-error -- API Gateway compares the text; a stack would only fill the log
    throw 'Unauthorized'
  }
}
