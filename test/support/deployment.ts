/**
 * The packaged functions behind a gateway that routes as the template says, each in a container of its own.
 */
import type { APIGatewayAuthorizerResult, APIGatewayProxyResult } from 'aws-lambda'
import { authorizerEvent, METHOD_ARN, request } from '../../support/events.ts'
import type { Packages } from '../../support/packages.ts'
import { type Container, startContainer } from './container.ts'
import { allows } from './gateway.ts'

interface Method {
  HttpMethod: string
  ResourceId: object
  AuthorizationType: string
  Integration: { Uri?: object }
}

/** The function of each route, `GET /me`, and whether the authorizer is asked before it. */
function routesOf({ template }: Packages): Map<string, { name: string; isProtected: boolean }> {
  const pathOf = (id: object): string => {
    const resource = template.Resources[(id as { Ref?: string }).Ref ?? '']
    if (!resource) return ''
    const { ParentId, PathPart } = resource.Properties as { ParentId: object; PathPart: string }
    return `${pathOf(ParentId)}/${PathPart}`
  }
  return new Map(
    Object.values(template.Resources)
      .filter(({ Type }) => Type === 'AWS::ApiGateway::Method')
      .map(({ Properties }) => Properties as unknown as Method)
      .filter(({ HttpMethod }) => HttpMethod !== 'OPTIONS')
      .map(({ HttpMethod, ResourceId, AuthorizationType, Integration }) => {
        const [, id] = /"(\w+)LambdaFunction"/.exec(JSON.stringify(Integration.Uri))!
        const name = `${id![0]!.toLowerCase()}${id!.slice(1)}`
        return [
          `${HttpMethod} ${pathOf(ResourceId)}`,
          { name, isProtected: AuthorizationType === 'CUSTOM' },
        ] as const
      }),
  )
}

export interface Deployment {
  /** Answers a request to a route without path parameters. */
  answer: (
    method: string,
    path: string,
    headers: Record<string, string>,
    body: string,
  ) => Promise<Pick<APIGatewayProxyResult, 'statusCode' | 'body'>>
  stop: () => Promise<void>
}

/** @param environment over that of the template */
export function startDeployment(built: Packages, environment: Record<string, string>): Deployment {
  const routes = routesOf(built)
  const containers = new Map<string, { container: Container; last: Promise<unknown> }>()
  /** One event after the other, as a container of Lambda takes them. */
  const invoke = (name: string, event: unknown) => {
    if (!containers.has(name)) {
      containers.set(name, { container: startContainer(built, name, environment), last: Promise.resolve() })
    }
    const { container, last } = containers.get(name)!
    const outcome = last.then(() => container.invoke(event))
    containers.set(name, { container, last: outcome.catch(() => undefined) })
    return outcome
  }

  return {
    answer: async (httpMethod, resource, headers, body) => {
      const { name, isProtected } = routes.get(`${httpMethod} ${resource}`)!
      let authorizer
      if (isProtected) {
        const outcome = await invoke('verifyToken', authorizerEvent(headers['authorization']!))
        if ('thrown' in outcome) return { statusCode: 401, body: String(outcome.thrown) }
        const policy = outcome.returned as APIGatewayAuthorizerResult
        if (!allows(policy, METHOD_ARN.replace('GET/me', httpMethod + resource)))
          return { statusCode: 403, body: '' }
        authorizer = policy.context as Record<string, string>
      }
      const event = request({
        httpMethod,
        resource,
        headers,
        ...(body && { body }),
        ...(authorizer && { authorizer }),
      })
      const outcome = await invoke(name, event)
      if ('thrown' in outcome) return { statusCode: 502, body: String(outcome.thrown) }
      return outcome.returned as APIGatewayProxyResult
    },
    stop: async () => {
      await Promise.all([...containers.values()].map(({ container }) => container.stop()))
    },
  }
}
