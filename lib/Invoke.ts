/**
 * Hands work over to another Lambda function, which does it after the answer is on its way: what it does, and how
 * long it takes, cannot be seen in the answer. Lambda tries again by itself when the work fails.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
 */
import { AwsClient } from 'aws4fetch'

/** An answer must not wait for longer, in milliseconds. */
const PATIENCE = 2_000

/**
 * Invokes a function and does not wait for what it does.
 * @param url of its invocations, `https://lambda.REGION.amazonaws.com/2015-03-31/functions/NAME/invocations`
 * @param payload its event, as JSON; nothing secret, since a queue of Lambda keeps it
 * @throws Error when Lambda does not take it
 */
export async function invokeLater(url: string, payload: object): Promise<void> {
  const answer = await lambda().fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Amz-Invocation-Type': 'Event' },
    body: JSON.stringify(payload),
    signal: AbortSignal.timeout(PATIENCE),
  })
  await answer.body?.cancel()
  if (answer.status !== 202) throw new Error(`Lambda answers ${answer.status}`)
}

/** With the role of this function. Made for each call: Lambda's credentials are those of the environment. */
const lambda = () =>
  new AwsClient({
    accessKeyId: process.env['AWS_ACCESS_KEY_ID'] ?? '',
    secretAccessKey: process.env['AWS_SECRET_ACCESS_KEY'] ?? '',
    ...(process.env['AWS_SESSION_TOKEN'] && { sessionToken: process.env['AWS_SESSION_TOKEN'] }),
    service: 'lambda',
    region: process.env['AWS_REGION'] ?? 'us-east-1',
    retries: 0,
  })
