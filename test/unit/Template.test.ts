/**
 * What the plugin adds to the template.
 */
import { gatewayResponses } from '../../plugin/GatewayResponses.ts'

describe('the gateway’s own answers', () => {
  const all = Object.values(gatewayResponses('*')).map(({ Properties }) => Properties)
  const find = (type: string) => all.find(({ ResponseType }) => ResponseType === type)!

  test.each([
    { type: 'INTEGRATION_FAILURE', status: 504, code: 'gateway_timeout' },
    { type: 'INTEGRATION_TIMEOUT', status: 504, code: 'gateway_timeout' },
    { type: 'API_CONFIGURATION_ERROR', status: 500, code: 'internal' },
    // Of a function that crashed or answered in another format: 502 is the one 5xx that has no type of its own.
    { type: 'DEFAULT_5XX', status: 502, code: 'bad_gateway' },
  ])('$type keeps its status $status, and says it in the body', ({ type, status, code }) => {
    const { StatusCode, ResponseTemplates } = find(type)
    expect(StatusCode).toBe(status)
    expect(JSON.parse(ResponseTemplates['application/json'])).toMatchObject({ status, code })
  })

  test('no answer quotes the request or API Gateway’s own sentence, which can hold a digest of the Authorization header', () => {
    for (const { ResponseTemplates, ResponseParameters } of all) {
      const text = JSON.stringify([ResponseTemplates, ResponseParameters])
      expect(text.match(/\$?(context|method|stageVariables)\.[\w.]+/g)).toEqual(['$context.requestId'])
    }
  })
})
