/**
 * What the CloudFormation template needs beyond what the framework makes of serverless.yml.
 */

export interface Resource {
  Type: string
  DependsOn?: string[]
  Properties: Record<string, unknown>
}

/**
 * Makes the stage a resource of its own, with its throttle: a Deployment can describe a stage only while there is none,
 * and the framework makes a new Deployment each time. And has it deployed after the gateway responses: it takes those
 * that are there.
 */
export function completeStage(
  resources: Record<string, Resource>,
  throttle: { rateLimit: number; burstLimit: number },
): void {
  const ofType = (type: string) => Object.keys(resources).filter((id) => resources[id]!.Type === type)
  for (const id of ofType('AWS::ApiGateway::Deployment')) {
    const { DependsOn = [], Properties } = resources[id]!
    resources[id]!.DependsOn = [...DependsOn, ...ofType('AWS::ApiGateway::GatewayResponse')]
    const { StageName, ...deployment } = Properties
    resources[id]!.Properties = deployment
    resources['ApiGatewayStage'] = {
      Type: 'AWS::ApiGateway::Stage',
      Properties: {
        RestApiId: deployment['RestApiId'],
        DeploymentId: { Ref: id },
        StageName,
        MethodSettings: [
          {
            HttpMethod: '*',
            ResourcePath: '/*',
            ThrottlingRateLimit: throttle.rateLimit,
            ThrottlingBurstLimit: throttle.burstLimit,
          },
        ],
      },
    }
  }
}
