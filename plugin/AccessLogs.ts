/**
 * API Gateway's access logs: one line for each request, also for those that no function sees.
 */
import type { Resource } from './Template.ts'

/** As for the logs of the functions (serverless.yml). */
const KEPT_DAYS = 30

/**
 * What a line says, and why. There are no headers, no query strings and no paths, only their templates: tokens are in
 * headers and links, and ids are in paths.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
 */
const line = {
  /** Finds the lines that the function wrote, and the answer of the client who complains. */
  requestId: '$context.requestId',
  /** When it came, in milliseconds since 1970: a line is written when the answer is known, and delivered later. */
  time: '$context.requestTimeEpoch',
  /** Who sends too much. Never that of a header. */
  address: '$context.identity.sourceIp',
  method: '$context.httpMethod',
  /** Such as `/me/sessions/{id}`. */
  route: '$context.resourcePath',
  status: '$context.status',
  /** Which of the gateway's own answers it was, such as THROTTLED or WAF_FILTERED. */
  gatewayResponse: '$context.error.responseType',
  /** Milliseconds until the answer, and how many of them were the function's. */
  latency: '$context.responseLatency',
  functionLatency: '$context.integrationLatency',
}

/** Outlives its stack: what happened must not disappear with it, and the role may serve other APIs. */
const RETAINED = { DeletionPolicy: 'Retain', UpdateReplacePolicy: 'Retain' } as const

/**
 * Creates the log group, and the role with which API Gateway writes to CloudWatch. There is one such role per account
 * and region. Neither has a fixed name, so that a new stack can create its own beside what an old one has left.
 * @returns CloudFormation resources by logical id
 */
export const accessLogs = (): Record<string, Resource> => ({
  AccessLogs: {
    Type: 'AWS::Logs::LogGroup',
    ...RETAINED,
    Properties: { RetentionInDays: KEPT_DAYS },
  },
  ApiGatewayLogsRole: {
    Type: 'AWS::IAM::Role',
    ...RETAINED,
    Properties: {
      AssumeRolePolicyDocument: {
        Version: '2012-10-17',
        Statement: [
          { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'apigateway.amazonaws.com' } },
        ],
      },
      ManagedPolicyArns: [
        {
          'Fn::Sub':
            'arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs',
        },
      ],
    },
  },
  ApiGatewayAccount: {
    Type: 'AWS::ApiGateway::Account',
    ...RETAINED,
    Properties: { CloudWatchRoleArn: { 'Fn::GetAtt': ['ApiGatewayLogsRole', 'Arn'] } },
  },
})

/** Makes a stage write them. API Gateway refuses that as long as the account has no role. */
export function logAccess(stage: Resource): void {
  stage.DependsOn = [...(stage.DependsOn ?? []), 'ApiGatewayAccount']
  stage.Properties['AccessLogSetting'] = {
    DestinationArn: { 'Fn::GetAtt': ['AccessLogs', 'Arn'] },
    Format: JSON.stringify(line),
  }
}
