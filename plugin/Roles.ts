/**
 * One IAM role per function: it writes to its own log group, and what else its handlers declare. A function that is
 * taken over has the rights of that function, and not those of all of them.
 */
import type { FunctionConfig } from './Functions.ts'
import type { Resource } from './Template.ts'

/** The name in serverless.yml of the function that sends mail (custom.mailFunction). */
const MAIL = 'mail'
const MAIL_QUEUE = 'MailDeadLetterQueue'
/** The longest that SQS keeps a message, in seconds: two weeks, to find out why no mail is sent and to send it. */
const MAIL_KEPT = 14 * 24 * 3600

/**
 * Gives every function a role, unless serverless.yml gives it one, and `mail` a queue for what it could not send.
 * @param functions those that completeFunctions has completed
 * @param inVpc whether all of them are in a VPC
 * @returns the roles and the queue, as CloudFormation resources by logical id
 */
export function giveRoles(
  functions: Record<string, FunctionConfig>,
  inVpc: boolean,
): Record<string, Resource> {
  const resources: Record<string, Resource> = {}
  for (const [name, config] of Object.entries(functions)) {
    if (name === MAIL) {
      config.destinations ??= { onFailure: { type: 'sqs', arn: arnOf(MAIL_QUEUE) } }
      resources[MAIL_QUEUE] = mailQueue
    }
    if (config.role) continue
    config.role = arnOf(`${idOf(name)}Role`)
    resources[`${idOf(name)}Role`] = roleOf(name, config, inVpc)
  }
  return resources
}

function roleOf(name: string, config: FunctionConfig, inVpc: boolean): Resource {
  const statements = [
    // The stack creates the log group, so the function does not have to. The ARN of a log group ends with `:*`.
    allow(['logs:CreateLogStream', 'logs:PutLogEvents'], arnOf(`${idOf(name)}LogGroup`)),
    ...('MAIL_FUNCTION_URL' in (config.environment ?? {})
      ? [allow(['lambda:InvokeFunction'], arnOf(`${idOf(MAIL)}LambdaFunction`))]
      : []),
    ...(name === MAIL ? [allow(['sqs:SendMessage'], arnOf(MAIL_QUEUE))] : []),
    // These have no resource to name. AWS's own policy for it would also let the function write to all logs.
    ...(inVpc || config.vpc ? [allow(NETWORK_INTERFACES, '*')] : []),
  ]
  return {
    Type: 'AWS::IAM::Role',
    Properties: {
      AssumeRolePolicyDocument: {
        Version: '2012-10-17',
        Statement: [
          { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'lambda.amazonaws.com' } },
        ],
      },
      Policies: [
        { PolicyName: 'declared', PolicyDocument: { Version: '2012-10-17', Statement: statements } },
      ],
    },
  }
}

/** @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html */
const NETWORK_INTERFACES = [
  'ec2:CreateNetworkInterface',
  'ec2:DescribeNetworkInterfaces',
  'ec2:DescribeSubnets',
  'ec2:DeleteNetworkInterface',
  'ec2:AssignPrivateIpAddresses',
  'ec2:UnassignPrivateIpAddresses',
]

const mailQueue: Resource = {
  Type: 'AWS::SQS::Queue',
  Properties: { MessageRetentionPeriod: MAIL_KEPT, SqsManagedSseEnabled: true },
}

const allow = (Action: string[], Resource: unknown) => ({ Effect: 'Allow', Action, Resource })

const arnOf = (id: string) => ({ 'Fn::GetAtt': [id, 'Arn'] })

/** `changePassword` -> `ChangePassword`, with which the framework begins the logical ids of a function. */
const idOf = (name: string) => `${name.charAt(0).toUpperCase()}${name.slice(1)}`
