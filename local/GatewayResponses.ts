/**
 * Makes serverless-offline answer its own errors as API Gateway does: with the gateway responses of the template, and
 * with the configured CORS origin instead of the caller's.
 */

export interface GatewayResponse {
  Type: string
  Properties: {
    ResponseType: string
    StatusCode: number
    ResponseParameters: Record<string, string>
    ResponseTemplates: { 'application/json': string }
  }
}

/** The part of hapi, serverless-offline's server, that is used here. */
interface Response {
  headers: Record<string, string>
  code: (status: number) => Response
  header: (name: string, value: string) => Response
}
export interface Request {
  method: string
  path: string
  /** Milliseconds since the epoch. */
  info: { id: string; received: number; responded: number }
  route: { path: string }
  response:
    | (Response & { isBoom?: false; statusCode: number | string })
    | { isBoom: true; message: string; output: { statusCode: number } }
}
interface Toolkit {
  continue: symbol
  response: (body: string) => Response
}
interface Route {
  options: { cors?: object | null | undefined }
}
export interface Server {
  route: (route: Route) => void
  events: {
    on: ((event: 'start', listener: () => void) => void) &
      ((event: 'response', listener: (request: Request) => void) => void)
  }
  ext: (event: 'onPreResponse', method: (request: Request, toolkit: Toolkit) => unknown) => void
}

/** API Gateway's name of an error, by hapi's status. */
const responseTypes: Record<number, string> = {
  401: 'UNAUTHORIZED',
  403: 'ACCESS_DENIED',
  413: 'REQUEST_TOO_LARGE',
}

/** serverless-offline's message if the authorizer's answer is not a policy. */
const NO_POLICY = 'No principalId set on the Response'

/** What an authorizer throws for a 401. Anything else is a fault. */
export const UNAUTHORIZED = 'Unauthorized'

export function imitateGatewayResponses(
  server: Server,
  responses: GatewayResponse[],
  corsOrigin: string,
): void {
  server.ext('onPreResponse', (request, toolkit) => {
    const type = failure(request)
    if (type) return answer(type, responses, request.info.id, toolkit)
    return toolkit.continue
  })
  // hapi would echo the caller's origin. 'ignore' makes it send a plain "*".
  const addRoute = server.route.bind(server)
  const origin = corsOrigin === '*' ? 'ignore' : [corsOrigin]
  server.route = ({ options, ...definition }) => {
    const cors = options.cors && {
      ...options.cors,
      origin,
      exposedHeaders: [],
      credentials: corsOrigin !== '*',
    }
    addRoute({ ...definition, options: { ...options, cors } })
  }
}

/** The type of the gateway's own error, or undefined if a function has answered. */
function failure({ method, route, response }: Request): string | undefined {
  if (response.isBoom) {
    if (response.message === NO_POLICY) return 'AUTHORIZER_CONFIGURATION_ERROR'
    const status = response.output.statusCode
    return responseTypes[status] ?? (status < 500 ? 'DEFAULT_4XX' : 'API_CONFIGURATION_ERROR')
  }
  // serverless-offline's own 404 for an unknown route, and its 502 for a function that crashed.
  if (route.path === '/{p*}' && method !== 'options') return 'MISSING_AUTHENTICATION_TOKEN'
  return Number(response.statusCode) === 502 ? 'DEFAULT_5XX' : undefined
}

function answer(type: string, responses: GatewayResponse[], requestId: string, toolkit: Toolkit): Response {
  const { statusCode, headers, body } = gatewayAnswer(type, responses, requestId)
  const response = toolkit.response(body).code(statusCode)
  for (const [name, value] of Object.entries(headers)) response.header(name, value)
  return response
}

/** The gateway's own answer, in the format of a function's answer. */
export function gatewayAnswer(type: string, responses: GatewayResponse[], requestId: string) {
  const find = (name: string) =>
    responses.find(({ Properties }) => Properties.ResponseType === name)?.Properties
  const { StatusCode, ResponseParameters, ResponseTemplates } = (find(type) ?? find('DEFAULT_4XX'))!
  return {
    statusCode: StatusCode,
    headers: Object.fromEntries(
      Object.entries(ResponseParameters).map(([parameter, value]) => [
        parameter.replace('gatewayresponse.header.', ''),
        value.replaceAll("'", ''),
      ]),
    ),
    body: ResponseTemplates['application/json'].replaceAll('$context.requestId', requestId),
  }
}
