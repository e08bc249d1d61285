/**
 * Reads this function's settings and credentials from its environment variables.
 */
import { parseSetting, type SettingName, type Settings } from './Settings.ts'

/**
 * Reads settings. A container's environment never changes, so each setting is parsed once.
 * @throws Error that names a missing or malformed setting, but never shows its value
 */
export function settingsOf<Name extends SettingName>(names: readonly Name[]): Pick<Settings, Name> {
  return Object.fromEntries(names.map((name) => [name, read(name)])) as Pick<Settings, Name>
}

const parsed = new Map<SettingName, unknown>()

function read(name: SettingName): unknown {
  if (!parsed.has(name)) {
    const text = process.env[name]
    if (text === undefined) throw new Error(`Setting ${name} is missing.`)
    parsed.set(name, parseSetting(name, text))
  }
  return parsed.get(name)
}

/**
 * Does some work when the container starts, when CPU time is plentiful, and keeps the result.
 * @returns a function that returns the result, or throws the error if the work failed. The import itself
 *   never throws, so a missing setting fails only the requests that need it
 */
export function atColdStart<Result>(work: () => Result): () => Result {
  try {
    const result = work()
    return () => result
  } catch (error) {
    return () => {
      throw error
    }
  }
}

/**
 * Reads the credentials of this function's role, which Lambda passes in the environment.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
 */
export const awsCredentials = (): AwsCredentials => ({
  accessKeyId: process.env['AWS_ACCESS_KEY_ID'] ?? '',
  secretAccessKey: process.env['AWS_SECRET_ACCESS_KEY'] ?? '',
  sessionToken: process.env['AWS_SESSION_TOKEN'],
  region: process.env['AWS_REGION'] ?? 'us-east-1',
})

export interface AwsCredentials {
  accessKeyId: string
  secretAccessKey: string
  sessionToken: string | undefined
  region: string
}
