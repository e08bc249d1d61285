/**
 * Completes the CloudFormation template that the framework generates from serverless.yml.
 */

export interface Resource {
  Type: string
  DependsOn?: string[]
  DeletionPolicy?: 'Retain'
  UpdateReplacePolicy?: 'Retain'
  Properties: Record<string, unknown>
}

/**
 * Makes the stage, with its throttles, a resource of its own. A Deployment can only describe a stage that does
 * not exist yet, and the framework creates a new Deployment each time. The Deployment also has to wait for
 * the gateway responses, because it only includes those that exist.
 * @param methodSettings those of plugin/Throttles.ts
 * @returns the stage; undefined if there is no API
 */
export function completeStage(
  resources: Record<string, Resource>,
  methodSettings: object[],
): Resource | undefined {
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
        MethodSettings: methodSettings,
      },
    }
  }
  return resources['ApiGatewayStage']
}
