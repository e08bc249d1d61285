/**
 * Requests to an API that runs, as its clients send them.
 */

export interface Sent {
  /** POST where there is a body, GET where there is none. */
  method?: string
  /** Sent as JSON. */
  json?: unknown
  /** Sent as Bearer. */
  token?: string | undefined
  headers?: Record<string, string>
}

/** Sends a request. */
export const send = (
  url: string,
  { json, method = json === undefined ? 'GET' : 'POST', token, headers }: Sent = {},
): Promise<Response> =>
  fetch(url, {
    method,
    headers: {
      ...(json !== undefined && { 'Content-Type': 'application/json' }),
      ...(token && { Authorization: `Bearer ${token}` }),
      ...headers,
    },
    ...(json !== undefined && { body: JSON.stringify(json) }),
  })

/** The JSON of an answer, `{}` where it has none. */
export async function jsonOf<Body = Record<string, string>>(
  answer: Response | Promise<Response>,
): Promise<Body> {
  const text = await (await answer).text()
  return JSON.parse(text || '{}') as Body
}

/** The status of an answer that is good, and the code of a problem. */
export const codeOf = async (answer: Response): Promise<string | number> =>
  answer.ok ? answer.status : (await jsonOf(answer))['code']!
