/**
 * Makes serverless-offline answer its own errors as API Gateway would: with the GatewayResponses of
 * serverless.yml, and with the CORS origin that is configured instead of the caller's.
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

/** What is used of hapi, serverless-offline's server. */
interface Response {
  headers: Record<string, string>
  code: (status: number) => Response
  header: (name: string, value: string) => Response
}
interface Request {
  method: string
  info: { id: string }
  route: { path: string }
  response:
    | (Response & { isBoom?: false; statusCode: number })
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
  events: { on: (event: 'start', listener: () => void) => void }
  ext: (event: 'onPreResponse', method: (request: Request, toolkit: Toolkit) => unknown) => void
}

/** API Gateway's name for what went wrong, by hapi's status. */
const responseTypes: Record<number, string> = {
  401: 'UNAUTHORIZED',
  403: 'ACCESS_DENIED',
  413: 'REQUEST_TOO_LARGE',
}

/** serverless-offline's word for an authorizer's answer that is no policy. */
const NO_POLICY = 'No principalId set on the Response'

/** What is used of a function of serverless-offline. */
export interface Lambda {
  functionName: string
  runHandler: () => Promise<unknown>
}

/**
 * Whatever an authorizer throws is a 401 to serverless-offline; API Gateway takes only the word Unauthorized for
 * one, and everything else for a fault. An answer that is no policy is a fault to both. And nobody catches what the
 * function throws that sends mail and that others invoke without waiting: it would end the whole API.
 */
export function failLikeLambda(lambda: Lambda): void {
  const { runHandler } = lambda
  lambda.runHandler = async function (this: Lambda) {
    try {
      return await runHandler.call(this)
    } catch (error) {
      const isFault = this.functionName.endsWith('-verifyToken') && !String(error).includes('Unauthorized')
      if (isFault || this.functionName.endsWith('-mail')) return {}
      throw error
    }
  }
}

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
  // hapi would send the caller's own origin back; 'ignore' is its word for a plain "*".
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

/** What the gateway itself has to say, or undefined where a Lambda has answered. */
function failure({ method, route, response }: Request): string | undefined {
  if (response.isBoom) {
    if (response.message === NO_POLICY) return 'AUTHORIZER_CONFIGURATION_ERROR'
    const status = response.output.statusCode
    return responseTypes[status] ?? (status < 500 ? 'DEFAULT_4XX' : 'DEFAULT_5XX')
  }
  // serverless-offline's own 404 for a route that is not declared, and its 502 for a Lambda that crashed.
  if (route.path === '/{p*}' && method !== 'options') return 'MISSING_AUTHENTICATION_TOKEN'
  return response.statusCode === 502 ? 'DEFAULT_5XX' : undefined
}

function answer(type: string, responses: GatewayResponse[], requestId: string, toolkit: Toolkit): Response {
  const find = (name: string) =>
    responses.find(({ Properties }) => Properties.ResponseType === name)?.Properties
  const { StatusCode, ResponseParameters, ResponseTemplates } = (find(type) ?? find('DEFAULT_4XX'))!
  const body = ResponseTemplates['application/json']
    .replaceAll('$context.requestId', requestId)
    .replaceAll('$context.error.messageString', '"The request is not valid."')
  const response = toolkit.response(body).code(StatusCode)
  for (const [parameter, value] of Object.entries(ResponseParameters)) {
    response.header(parameter.replace('gatewayresponse.header.', ''), value.replaceAll("'", ''))
  }
  return response
}
