/**
 * How many requests each route takes, from all clients together. API Gateway answers 429 beyond that. Each method of
 * a path has its own count, so a flood of one route turns off no other.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-request-throttling.html
 */
import type { Declaration } from '../api/Route.ts'
import type { DeclaredRoute } from './Functions.ts'

/** Requests per second, and at once. */
interface Throttle {
  rateLimit: number
  burstLimit: number
}

/** serverless.yml, custom.throttle. */
export type Throttles = Record<'hashing' | 'public' | 'protected', Throttle>

/**
 * How long a request of each class occupies Lambda, in seconds, with its authorizer and its database. docs/limits.md
 * multiplies them with the throttles.
 */
export const SECONDS: Record<keyof Throttles, number> = { hashing: 0.6, public: 0.1, protected: 0.1 }

/**
 * A hash occupies a whole vCPU for about half a second, so these routes get the least. Protected routes need a valid
 * token to get past the authorizer.
 */
export const throttleClass = ({ hashesPasswords, role }: Declaration): keyof Throttles =>
  hashesPasswords ? 'hashing' : role === undefined ? 'public' : 'protected'

/**
 * Creates the method settings of the stage.
 * @param routes the declared routes. All others, such as preflights, are in the class `public`
 */
export const methodSettings = (routes: DeclaredRoute[], throttles: Throttles): object[] => [
  methodSetting('*', '/*', throttles.public),
  ...routes.map(({ key, declaration }) => {
    const [method = '', path = ''] = key.split(' ')
    // CloudFormation wants the slashes of a path, except the first, as in a JSON Pointer (RFC 6901).
    return methodSetting(method, `/${path.replaceAll('/', '~1')}`, throttles[throttleClass(declaration)])
  }),
]

const methodSetting = (HttpMethod: string, ResourcePath: string, throttle: Throttle) => ({
  HttpMethod,
  ResourcePath,
  ThrottlingRateLimit: throttle.rateLimit,
  ThrottlingBurstLimit: throttle.burstLimit,
})
