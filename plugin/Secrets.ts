/**
 * The settings of a deployment, from secrets.json. Environment variables with the same names take precedence.
 */
import { createPrivateKey, createPublicKey, randomBytes, sign, verify } from 'node:crypto'
import { readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { publicKeys, type KeyRing } from '../auth/Tokens.ts'
import { parseSetting, schema, type SettingName } from '../api/Settings.ts'
import { addKey, generateKey, type RecordedKeyRing, withoutRecords } from './Keys.ts'

/**
 * Never set by hand: VERIFICATION_KEYS is derived from SIGNING_KEYS, and serverless.yml or `npm start` sets
 * the others.
 */
const derived = ['VERIFICATION_KEYS', 'API_ID', 'MAIL_FUNCTION_URL'] as const
type Name = Exclude<SettingName, (typeof derived)[number]>
const names = Object.keys(schema).filter((name): name is Name => !derived.some((other) => other === name))

/** A deployment needs these. The others have defaults in serverless.yml. */
const required: readonly Name[] = [
  'DB',
  'SIGNING_KEYS',
  'PEPPER',
  'REFRESH_TOKEN_KEY',
  'SMTP_URL',
  'MAIL_FROM',
]

/** `npm start` does not need these, because it starts its own database and SMTP server. */
export const DEPLOYED_ONLY: readonly string[] = ['DB', 'SMTP_URL', 'MAIL_FROM']

/** The stage of `sls offline`, and the default of `sls deploy`. */
export const LOCAL_STAGE = 'dev'
const LOCAL_FILE = 'secrets.json'

/** Returns the name of a stage's secrets file. */
export const fileOf = (stage: string) => (stage === LOCAL_STAGE ? LOCAL_FILE : `secrets.${stage}.json`)

/** Returns whether a stage can have this name. `example` would use secrets.example.json. */
export const isStage = (name: string) => /^\w[\w-]*$/.test(name) && name !== 'example'

export class Secrets {
  readonly #values: ReadonlyMap<Name, string>
  /** The name of the secrets file, for messages. */
  readonly file: string

  /**
   * Reads `secrets.json` for the stage dev, or `secrets.<stage>.json` for any other, and then the
   * environment. A stage never falls back to another stage's file, because it would then use keys that are
   * not its own.
   * @throws Error with a message that names the file or the setting
   */
  constructor(folder: string, stage: string, environment: NodeJS.ProcessEnv) {
    this.file = fileOf(stage)
    const fromFile = readJson(folder, this.file) ?? {}
    for (const name of Object.keys(fromFile)) {
      // A name that starts with // is a comment, as in secrets.example.json.
      if (!name.startsWith('//') && !names.includes(name as Name)) {
        throw new Error(
          `Setting ${name} in ${this.file} does not exist. The settings are ${names.join(', ')}.`,
        )
      }
    }
    this.#values = new Map(
      names.flatMap((name): [Name, string][] => {
        const value = environment[name] || fromFile[name]
        if (value === undefined || value === '') return []
        const text = check(name, value, environment[name] ? 'the environment' : this.file)
        if (name !== 'SIGNING_KEYS') return [[name, text]]
        return [[name, JSON.stringify(withoutRecords(JSON.parse(text) as RecordedKeyRing))]]
      }),
    )
  }

  /** @returns the value in the format of an environment variable, or undefined if it is not set */
  get(name: SettingName): string | undefined {
    if (name !== 'VERIFICATION_KEYS') return this.#values.get(name as Name)
    const signingKeys = this.#values.get('SIGNING_KEYS')
    return signingKeys && JSON.stringify(publicKeys(JSON.parse(signingKeys) as KeyRing))
  }

  /** Returns the required settings that are not set. */
  missing(): Name[] {
    return required.filter((name) => !this.#values.has(name))
  }
}

/** Generates random keys for everything that must be secret. */
export function newSecrets(SIGNING_KEYS: RecordedKeyRing = { keys: [generateKey()] }) {
  const random = () => randomBytes(32).toString('base64url')
  return { SIGNING_KEYS, PEPPER: random(), REFRESH_TOKEN_KEY: random() }
}

/**
 * Creates a secrets file with new random keys, readable only by its owner. It never replaces an existing
 * file.
 * @param file `secrets.json`, or `secrets.<stage>.json`, which gets empty settings to fill in for a
 *   deployment
 * @returns whether it created the file. False if the file already existed
 */
export function generateSecrets(folder: string, file = LOCAL_FILE): boolean {
  const { keyRing } = addKey({ keys: [] }, new Date())
  const secrets = {
    ...(file !== LOCAL_FILE && { DB: '', SMTP_URL: '', MAIL_FROM: '' }),
    ...newSecrets(keyRing),
  }
  try {
    writeFileSync(join(folder, file), toJson(secrets), OWN_AND_NEW)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw new Error(`${file} cannot be written: ${(error as Error).message}.`, { cause: error })
  }
}

/**
 * Changes the key ring of a secrets file, including the history of its keys, and nothing else in the file.
 * @param change returns the new ring. If it throws or changes nothing, nothing is written
 * @returns the new ring
 * @throws Error with a message for the user if the file has no valid ring or cannot be written. The file is
 *   never left half-written
 */
export function updateKeyRing(
  folder: string,
  file: string,
  change: (keyRing: RecordedKeyRing) => RecordedKeyRing,
): RecordedKeyRing {
  const content = readJson(folder, file)
  const value = content?.['SIGNING_KEYS']
  if (!value) {
    throw new Error(
      `There are no SIGNING_KEYS in ${file}. npm start creates secrets.json, and npm run secrets -- prod creates the file of a stage.`,
    )
  }
  const before = JSON.parse(check('SIGNING_KEYS', value, file)) as RecordedKeyRing
  const after = change(before)
  if (toJson(after) !== toJson(before)) replace(folder, file, toJson({ ...content, SIGNING_KEYS: after }))
  return after
}

/** Writes a new file and renames it, so that the file is complete at all times. */
function replace(folder: string, file: string, text: string): void {
  let draft
  try {
    // If it is a symbolic link, replace its target.
    const path = realpathSync(join(folder, file))
    // Git ignores this name.
    draft = `${path.replace(/\.json$/, '')}.${randomBytes(6).toString('hex')}.json`
    writeFileSync(draft, text, { ...OWN_AND_NEW, flush: true })
    renameSync(draft, path)
  } catch (error) {
    if (draft) rmSync(draft, { force: true })
    throw new Error(`${file} cannot be written: ${(error as Error).message}.`, { cause: error })
  }
}

const OWN_AND_NEW = { mode: 0o600, flag: 'wx' } as const

const toJson = (value: object) => `${JSON.stringify(value, null, 2)}\n`

/**
 * Checks a setting.
 * @param source where the value comes from, for the error
 * @returns the value in the format of an environment variable
 * @throws Error that names the setting and the source, but never shows the value
 */
function check(name: Name, value: unknown, source: string): string {
  try {
    const text = toText(name, value)
    parseSetting(name, text)
    if (name === 'SIGNING_KEYS') checkPairs(JSON.parse(text) as KeyRing)
    return text
  } catch (error) {
    throw new Error(`${(error as Error).message} It is read from ${source}.`, { cause: error })
  }
}

/** Checks that public and private halves belong together. Otherwise, no token could be verified. */
function checkPairs({ keys }: KeyRing): void {
  for (const jwk of keys) {
    let matches = false
    try {
      const signature = sign('sha256', Buffer.from('pair'), createPrivateKey({ key: jwk, format: 'jwk' }))
      matches = verify('sha256', Buffer.from('pair'), createPublicKey({ key: jwk, format: 'jwk' }), signature)
    } catch {
      // Not a point on the curve, or not a key at all.
    }
    if (!matches)
      throw new Error(`Setting SIGNING_KEYS contains ${jwk.kid}, which is not a valid P-256 key pair.`)
  }
}

/**
 * Converts a setting to the format of an environment variable. In the file, keys and numbers may also be JSON
 * values.
 */
function toText(name: Name, value: unknown): string {
  if (typeof value === 'string') {
    // The Serverless Framework would replace it.
    if (value.includes('${')) throw new Error(`Setting ${name} must not contain "\${".`)
    return value
  }
  if (name === 'SIGNING_KEYS' || name === 'LIMITS' || typeof value === 'number') return JSON.stringify(value)
  throw new Error(`Setting ${name} must be text.`)
}

function readJson(folder: string, file: string): Record<string, unknown> | undefined {
  let text
  try {
    text = readFileSync(join(folder, file), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`${file} cannot be read: ${(error as Error).message}.`, { cause: error })
  }
  try {
    // Windows editors may start a file with a byte order mark.
    const value: unknown = JSON.parse(text.replace(/^\uFEFF/, ''))
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>
  } catch {
    // Fall through: the error below is ours, because JSON.parse's message quotes the text, which is secret.
  }
  throw new Error(`${file} is not a JSON object. Repair it: its keys and its pepper cannot be recreated.`)
}
