/**
 * Hands work to another Lambda function, which does it in the background. The answer shows neither what that
 * function does nor how long it takes. Lambda retries by itself if the work fails.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
 */
import { AwsClient } from 'aws4fetch'

/** The longest that an answer may be held up, in milliseconds. */
const TIMEOUT = 3_000

/**
 * Invokes a function asynchronously.
 * @param url `https://lambda.REGION.amazonaws.com/2015-03-31/functions/NAME/invocations`
 * @param payload the function's event, sent as JSON. It must hold nothing secret, because Lambda keeps it in
 *   a queue
 * @param credentials credentials that may invoke the function, and its region
 * @throws Error when Lambda does not accept the event
 */
export async function invokeLater(
  url: string,
  payload: object,
  {
    sessionToken,
    ...credentials
  }: { accessKeyId: string; secretAccessKey: string; sessionToken: string | undefined; region: string },
): Promise<void> {
  const lambda = new AwsClient({
    ...credentials,
    ...(sessionToken && { sessionToken }),
    service: 'lambda',
    retries: 0,
  })
  const answer = await lambda.fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Amz-Invocation-Type': 'Event' },
    body: JSON.stringify(payload),
    signal: AbortSignal.timeout(TIMEOUT),
  })
  await answer.body?.cancel()
  if (answer.status !== 202) throw new Error(`Lambda answered ${answer.status}`)
}
