/**
 * The settings of this function, from the environment variables that the deployment gave it.
 */
import { parseSetting, type SettingName, type Settings } from './Settings.ts'

/**
 * Reads settings. Environment variables never change while a container lives, so each is parsed once.
 * @throws Error that names the setting when it is missing or malformed; never with its value
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
 * Does some work when the container starts, where CPU time is plentiful, and hands out its result.
 * @returns a function that gives the result. If the work failed, it throws that error: the import does not, so one
 *   missing setting fails the requests that need it and nothing else
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
 * The credentials of this function's role, which Lambda puts into its environment.
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
