/**
 * The key ring and its rotation: add a key, deploy, promote it, deploy, remove the old one, deploy. A key is known
 * to all verifiers before it signs, and stays until its last token has died, so nobody is signed out.
 */
import { createHash, createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { ACCESS_TOKEN_SECONDS, type KeyRing, SKEW_SECONDS } from '../auth/Tokens.ts'

/** What is recorded of a key in the secrets file, and only there: ISO 8601 times. */
interface Records {
  createdAt?: string | undefined
  /** The first deployment whose JWKS had it. */
  publishedAt?: string | undefined
  /** The deployment since which it signs, or the last one of those. */
  signingSince?: string | undefined
  /** The deployment since which it does not sign any more. */
  signedUntil?: string | undefined
}

type Key = KeyRing['keys'][number] & Records

/** A key ring as the secrets file holds it. */
export interface RecordedKeyRing {
  keys: Key[]
}

interface Change {
  keyRing: RecordedKeyRing
  /** What was done and what comes next, for a person. */
  says: string
}

const MINUTE = 60_000
/**
 * How long verifiers may go on with the JWKS that they have, in milliseconds. Ours says 5 minutes; this is what
 * API Gateway's own JWT authorizer takes.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html
 */
const JWKS_CACHED = 2 * 60 * MINUTE
/** How long a token may be good after its key stopped signing, in milliseconds. */
const TOKEN_ALIVE = (ACCESS_TOKEN_SECONDS + SKEW_SECONDS) * 1000

const PUBLISHED_FIRST = `${JWKS_CACHED / MINUTE / 60} hours`
const OUTLIVED = `${TOKEN_ALIVE / MINUTE} minutes`
const DEPLOY = 'deploy first, or give --url with the URL of the API where a pipeline has deployed it'

/** A new private JWK for ES256; its `kid` is the thumbprint of RFC 7638. */
export function generateKey(): KeyRing['keys'][number] {
  // Encoded and read again: exporting the KeyObject itself can hang for ever in Node 20, where garbage collection of
  // what generated it waits for the lock that the export holds.
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { format: 'der', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
  })
  const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' })
  const { crv, d, kty, x, y } = key.export({ format: 'jwk' })
  const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
  return { kty, crv, kid, alg: 'ES256', use: 'sig', x, y, d } as KeyRing['keys'][number]
}

/** The ring as the Lambdas get it: members are named one by one, so that no record goes with them. */
export function withoutRecords({ keys }: RecordedKeyRing): KeyRing {
  return {
    keys: keys.map(({ kty, crv, kid, alg, use, x, y, d }) => ({ kty, crv, kid, alg, use, x, y, d }) as Key),
  }
}

/** Puts a new key behind the others. */
export function addKey({ keys }: RecordedKeyRing, now: Date): Change {
  const key = { ...generateKey(), createdAt: now.toISOString() }
  return {
    keyRing: { keys: [...keys, key] },
    says: `Added ${key.kid}. Now deploy, which publishes it; it can be promoted ${PUBLISHED_FIRST} after that.`,
  }
}

/**
 * Puts a key before the others, so that it signs from the next deployment on.
 * @param force also before all verifiers know it
 * @throws Error with a sentence that says what to do instead, and when
 */
export function promoteKey(keyRing: RecordedKeyRing, kid: string, now: Date, force = false): Change {
  const key = find(keyRing, kid)
  const [first, ...rest] = keyRing.keys as [Key, ...Key[]]
  if (key === first) {
    const since = isSigning(key) ? `since ${minute(key.signingSince!)}` : 'or will with the next deployment'
    throw new Error(`${kid} signs already, ${since}: there is nothing to promote.`)
  }
  const early = tooEarlyToPromote(key, now)
  if (early && !force) throw new Error(early)
  return {
    keyRing: {
      // No deployment of the old one may be on record where a pipeline made it.
      keys: [key, asSigning(first, now), ...rest.filter((other) => other !== key)],
    },
    says:
      `${kid} signs from the next deployment on. ${first.kid} stays for the tokens that it has signed; ` +
      `it can be removed ${OUTLIVED} after that deployment.` +
      (early
        ? ` Forced: this API refuses some tokens of the new key until the deployment is done, and services that ` +
          `cache the JWKS refuse them for up to ${PUBLISHED_FIRST}.`
        : ''),
  }
}

/**
 * Takes a key out of the ring.
 * @param force also while tokens that it has signed are alive
 * @throws Error with a sentence that says what to do instead, and when
 */
export function removeKey(keyRing: RecordedKeyRing, kid: string, now: Date, force = false): Change {
  const key = find(keyRing, kid)
  if (keyRing.keys.length === 1) {
    throw new Error(`${kid} is the only key: add another and promote it before you remove this one.`)
  }
  if (key === keyRing.keys[0]) {
    throw new Error(`${kid} is the key that signs: promote another before you remove this one.`)
  }
  const early = tooEarlyToRemove(key, now)
  if (early && !force) throw new Error(early)
  return {
    keyRing: { keys: keyRing.keys.filter((other) => other !== key) },
    says:
      `Removed ${kid}. Now deploy, which takes it out of the JWKS.` +
      (early
        ? ' Forced: access tokens that it has signed are refused from that deployment on; clients that refresh get new ones by themselves.'
        : ''),
  }
}

/**
 * Records what a deployment has made of the ring.
 * @param deployed the public keys of the deployment in their order: the first one signs
 * @throws Error with a sentence when none of the keys is from this ring
 */
export function recordDeployment(keyRing: RecordedKeyRing, deployed: KeyRing, now: Date): RecordedKeyRing {
  const places = keyRing.keys.map(({ kid, x, y }) =>
    deployed.keys.findIndex((other) => other.kid === kid && other.x === x && other.y === y),
  )
  if (places.every((place) => place < 0)) {
    throw new Error(
      'None of the keys that are deployed is in the secrets file: they belong to another stage.',
    )
  }
  return {
    keys: keyRing.keys.map((key, index) => {
      const place = places[index]!
      // What is not there now has to be published again before anybody can rely on it.
      const publishedAt = place < 0 ? undefined : (key.publishedAt ?? now.toISOString())
      const { signingSince, signedUntil } = place === 0 ? asSigning(key, now) : asNotSigning(key, now)
      return { ...key, publishedAt, signingSince, signedUntil }
    }),
  }
}

/** One line for each key: what is known of it, and what can be done with it. */
export function describeKeys({ keys }: RecordedKeyRing, now: Date): string[] {
  const when = (at: number | undefined, wait: string) => {
    if (at === undefined) return `${wait} after the next deployment`
    return at > now.getTime() ? fromOn(at) : 'now'
  }
  return keys.map((key, index) => {
    const next =
      index > 0
        ? `can be promoted ${when(promotableAt(key), PUBLISHED_FIRST)}, removed ${when(removableAt(key), OUTLIVED)}`
        : isSigning(key)
          ? 'stays until another is promoted'
          : 'signs from the next deployment on'
    return `${key.kid}  ${facts(key)}; ${next}`
  })
}

function facts(key: Key): string {
  const signing = () => {
    if (key.signedUntil) return `not signing since ${minute(key.signedUntil)}`
    return key.signingSince ? `signing since ${minute(key.signingSince)}` : 'not known to sign'
  }
  return [
    key.createdAt ? `created ${minute(key.createdAt)}` : 'created at an unknown time',
    key.publishedAt ? `published since ${minute(key.publishedAt)}` : 'not known to be published',
    signing(),
  ].join(', ')
}

function find({ keys }: RecordedKeyRing, kid: string): Key {
  const key = keys.find((other) => other.kid === kid)
  if (!key) throw new Error(`There is no key ${kid} in the ring: see npm run keys -- list`)
  return key
}

/** @returns why a key cannot be promoted yet, or undefined */
function tooEarlyToPromote(key: Key, now: Date): string | undefined {
  const at = promotableAt(key)
  if (at === undefined) {
    return (
      `${key.kid} is not known to be published, so nobody could verify its tokens: ${DEPLOY}. ` +
      `It can be promoted ${PUBLISHED_FIRST} after that.`
    )
  }
  if (at <= now.getTime()) return undefined
  return (
    `${key.kid} was published at ${minute(key.publishedAt!)}, and verifiers may go on with older keys for ` +
    `${PUBLISHED_FIRST}: it can be promoted ${fromOn(at)}.`
  )
}

/** @returns why a key that does not sign any more cannot be removed yet, or undefined */
function tooEarlyToRemove(key: Key, now: Date): string | undefined {
  const at = removableAt(key)
  if (at === undefined) {
    return (
      `${key.kid} may still sign, since no deployment in which another key signs is on record: ${DEPLOY}. ` +
      `It can be removed ${OUTLIVED} after that.`
    )
  }
  if (at <= now.getTime()) return undefined
  return (
    `${key.kid} signed until ${minute(key.signedUntil!)}, and its tokens live for ${OUTLIVED}: ` +
    `it can be removed ${fromOn(at)}.`
  )
}

/** From when on all verifiers know the key, in milliseconds since the epoch; undefined while it is not published. */
const promotableAt = ({ publishedAt }: Key) =>
  publishedAt === undefined ? undefined : Date.parse(publishedAt) + JWKS_CACHED

/** From when on no token of the key is alive, in milliseconds since the epoch; undefined while it may sign. */
function removableAt(key: Key): number | undefined {
  if (!mayHaveSigned(key)) return 0
  return key.signedUntil === undefined ? undefined : Date.parse(key.signedUntil) + TOKEN_ALIVE
}

/** Of a key that came into the file by hand, nobody knows what it did before. */
const mayHaveSigned = ({ createdAt, signingSince }: Key) =>
  createdAt === undefined || signingSince !== undefined

const isSigning = ({ signingSince, signedUntil }: Key) =>
  signingSince !== undefined && signedUntil === undefined

const asSigning = (key: Key, now: Date): Key =>
  isSigning(key) ? key : { ...key, signingSince: now.toISOString(), signedUntil: undefined }

const asNotSigning = (key: Key, now: Date): Key =>
  mayHaveSigned(key) ? { ...key, signedUntil: key.signedUntil ?? now.toISOString() } : key

const minute = (time: string | number) => `${new Date(time).toISOString().slice(0, 16)}Z`

/** Rounded up: what can be done from a time on can be done at the minute that is said. */
const fromOn = (at: number) => `from ${minute(Math.ceil(at / MINUTE) * MINUTE)} on`
