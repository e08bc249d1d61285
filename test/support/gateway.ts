/**
 * Evaluates an IAM policy the way API Gateway does, since serverless-offline is kinder: implicit deny, an
 * explicit deny wins, `*` and `?` in actions and resources, case-sensitive resources.
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
 */
import type { APIGatewayAuthorizerResult } from 'aws-lambda'

type Statement = { Effect: string; Action: string | string[]; Resource: string | string[] }

/** Whether a policy lets a caller through to a route, given as its ARN. */
export function allows({ policyDocument }: APIGatewayAuthorizerResult, arn: string): boolean {
  const effects = (policyDocument.Statement as Statement[])
    .filter(({ Action }) =>
      [Action].flat().some((action) => matches(action.toLowerCase(), 'execute-api:invoke')),
    )
    .filter(({ Resource }) => [Resource].flat().some((resource) => matches(resource, arn)))
    .map(({ Effect }) => Effect)
  return effects.includes('Allow') && !effects.includes('Deny')
}

function matches(pattern: string, text: string): boolean {
  const expression = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${expression}$`, 's').test(text)
}
