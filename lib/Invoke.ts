/**
 * Hands work to another Lambda function, which does it after the answer is on its way: neither what it does nor how
 * long it takes shows in the answer. Lambda retries by itself when the work fails.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
 */
import { AwsClient } from 'aws4fetch'

/** An answer must not wait longer than this, in milliseconds. */
const PATIENCE = 2_000

/**
 * Invokes a function and does not wait for what it does.
 * @param url of its invocations, `https://lambda.REGION.amazonaws.com/2015-03-31/functions/NAME/invocations`
 * @param payload its event, sent as JSON; nothing secret, since Lambda keeps it in a queue
 * @param credentials that may invoke the function, and its region
 * @throws Error when Lambda does not accept it
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
    signal: AbortSignal.timeout(PATIENCE),
  })
  await answer.body?.cancel()
  if (answer.status !== 202) throw new Error(`Lambda answers ${answer.status}`)
}
