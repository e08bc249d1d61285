/**
 * The web ACL: an address that sends too many requests gets a 429 before it can fill the throttles of the stage.
 * @see https://docs.aws.amazon.com/waf/latest/developerguide/waf-rule-statement-type-rate-based.html
 */
import { Problem } from '../api/Problem.ts'
import type { Resource } from './Template.ts'

/** The shortest that AWS WAF can look back, in seconds. */
const WINDOW = 60

/**
 * Creates the web ACL and attaches it to the stage.
 * @param perAddress requests per minute of one address, at least 10
 * @param headers of every answer of the gateway itself
 * @returns CloudFormation resources by logical id
 */
export function firewall(perAddress: number, headers: Record<string, string>): Record<string, Resource> {
  const problem = new Problem('too_many_requests')
  // AWS WAF cannot fill in the id of the request, and always sends its own Content-Type.
  const { requestId: _, ...body } = problem.toBody('')
  const { 'Content-Type': __, ...others } = headers
  const answer = {
    CustomResponse: {
      ResponseCode: problem.status,
      CustomResponseBodyKey: problem.code,
      ResponseHeaders: Object.entries({ ...others, 'Retry-After': String(WINDOW) }).map(([Name, Value]) => ({
        Name,
        Value,
      })),
    },
  }
  return {
    WebAcl: {
      Type: 'AWS::WAFv2::WebACL',
      Properties: {
        Scope: 'REGIONAL',
        DefaultAction: { Allow: {} },
        CustomResponseBodies: {
          [problem.code]: { ContentType: 'APPLICATION_JSON', Content: JSON.stringify(body) },
        },
        Rules: [
          {
            Name: 'PerAddress',
            Priority: 0,
            Statement: {
              RateBasedStatement: { AggregateKeyType: 'IP', Limit: perAddress, EvaluationWindowSec: WINDOW },
            },
            Action: { Block: answer },
            VisibilityConfig: visibility('PerAddress'),
          },
        ],
        VisibilityConfig: visibility('WebAcl'),
      },
    },
    WebAclAssociation: {
      Type: 'AWS::WAFv2::WebACLAssociation',
      Properties: {
        WebACLArn: { 'Fn::GetAtt': ['WebAcl', 'Arn'] },
        ResourceArn: {
          'Fn::Sub':
            'arn:${AWS::Partition}:apigateway:${AWS::Region}::/restapis/${ApiGatewayRestApi}/stages/${ApiGatewayStage}',
        },
      },
    },
  }
}

/** Counts, but keeps no samples of requests: they would show the tokens in their headers. */
const visibility = (metric: string) => ({
  CloudWatchMetricsEnabled: true,
  // The name of the stack keeps the metrics of two stages apart.
  MetricName: { 'Fn::Sub': `\${AWS::StackName}-${metric}` },
  SampledRequestsEnabled: false,
})
