/**
 * What a warm call of the packaged authorizer costs, against the least that verifying a token can cost: the same
 * ES256 token, verified by node:crypto with a key made once, and its header and payload decoded and parsed.
 *
 *   npx tsx bench/authorizer.ts
 */
import { createPublicKey, verify } from 'node:crypto'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { APIGatewayAuthorizerResult, APIGatewayTokenAuthorizerEvent } from 'aws-lambda'
import { signer, type KeyRing } from '../auth/Tokens.ts'
import { interleave, median, percentile, printLimit, printTable, ratio, timed } from './support/measure.ts'
import { newSettings } from '../test/support/newSettings.ts'
import { packageFunctions } from '../test/support/packages.ts'

const BATCHES = 100
const CALLS = 100
const LIMIT = 1.3

type Authorizer = (event: APIGatewayTokenAuthorizerEvent) => Promise<APIGatewayAuthorizerResult>

const settings = newSettings()
Object.assign(process.env, settings)
const { keys } = JSON.parse(settings.SIGNING_KEYS) as KeyRing
const token = signer({ keys }, { issuer: settings.ISSUER, audience: settings.AUDIENCE })(
  { id: '5f5f5f5f5f5f5f5f5f5f5f5f', roles: ['user'], tokenVersion: 0 },
  'AAAAAAAAAAAAAAAAAAAAAA',
  new Date(),
)

const event = {
  type: 'TOKEN' as const,
  authorizationToken: `Bearer ${token}`,
  methodArn: 'arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/dev/GET/me',
}

const publicKey = createPublicKey({ key: keys[0]!, format: 'jwk' })
const parse = (part: string): unknown => JSON.parse(Buffer.from(part, 'base64url').toString())

/** The peer: no check of anything but the signature. */
function bare(): unknown {
  const [header, payload, signature] = token.split('.') as [string, string, string]
  const key = { key: publicKey, dsaEncoding: 'ieee-p1363' as const }
  if (!verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'))) {
    throw new Error('The token does not verify.')
  }
  return [parse(header), parse(payload)]
}

const packages = await packageFunctions()
try {
  const bundle = join(packages.folderOf('verifyToken'), 'auth', 'VerifyToken.mjs')
  const { handler } = (await import(pathToFileURL(bundle).href)) as { handler: Authorizer }
  const { principalId } = await handler(event)
  if (principalId !== '5f5f5f5f5f5f5f5f5f5f5f5f') throw new Error('The authorizer refuses the token.')

  const round = {
    bare: () =>
      timed(() => {
        for (let call = 0; call < CALLS; call++) bare()
      }),
    authorizer: () =>
      timed(async () => {
        for (let call = 0; call < CALLS; call++) await handler(event)
      }),
  }
  await interleave(BATCHES / 4, round) // until both are compiled
  const samples = await interleave(BATCHES, round)

  const microseconds = (milliseconds: number) => ((milliseconds * 1000) / CALLS).toFixed(1)
  const row = (name: keyof typeof samples, label: string) => [
    label,
    microseconds(median(samples[name])),
    microseconds(percentile(samples[name], 0.1)),
    ratio(samples[name], samples.bare).toFixed(2),
  ]
  printTable([
    [`${BATCHES} x ${CALLS} calls each, in turn`, 'median µs', 'p10 µs', 'ratio'],
    row('bare', 'node:crypto verify, two JSON parts parsed'),
    row('authorizer', 'packaged authorizer'),
  ])
  printLimit('authorizer / node:crypto', ratio(samples.authorizer, samples.bare), LIMIT)
} finally {
  packages.remove()
}
